"""NVIDIA's container toolkit that the role nvidia_container_toolkit wants: what is installed, and the action."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from . import container_engine, docker
from .dpkg import Packages

# All of one release: a newer library under an older toolkit is the usual way to break it.
PACKAGES = (
    "nvidia-container-toolkit",
    "nvidia-container-toolkit-base",
    "libnvidia-container-tools",
    "libnvidia-container1",
)
# The first release whose nvidia-cdi-refresh waits for the driver; CVE-2024-0132 is fixed since 1.16.2.
MINIMUM = "1.18.2"


class Choice(NamedTuple):
    """`action` is skip, refuse or install, `sentence` why; `mode` is cdi or legacy."""

    action: str
    sentence: str
    mode: str = ""
    missing: Sequence[str] = ()  # also those of another release than the wanted one
    devices: Sequence[str] = ()  # what CDI offers now


def choose(engine: str | None, packages: Packages, *, runtime: str, mode: str, version: str) -> Choice:
    """Return what to do for an engine of this version; the settings are those of the role nvidia_container_toolkit."""
    if runtime == "native":
        return Choice(
            "skip", "The agents run as native processes of systemd; no NVIDIA container toolkit is installed."
        )
    if [int(part) for part in version.split(".")] < [int(part) for part in MINIMUM.split(".")]:
        return Choice(
            "refuse",
            f"nvidia_container_toolkit_version is {version}, whose CDI specification is not kept fresh: "
            f"write {MINIMUM} or later.",
        )
    # No engine yet, as in check mode on a fresh host: the one to be installed is current.
    has_cdi = engine is None or container_engine.major_minor(engine) >= container_engine.CDI_SINCE
    if mode == "cdi" and not has_cdi:
        return Choice(
            "refuse",
            f"nvidia_container_toolkit_mode is cdi, and Docker {engine} does not support CDI: write legacy, or install "
            "an engine from 25.0.",
        )
    chosen = mode if mode != "auto" else "cdi" if has_cdi else "legacy"
    wrong = [name for name in PACKAGES if packages.versions.get(name, "").partition("-")[0] != version]
    return Choice(
        "install",
        f"NVIDIA container toolkit {version}, {chosen}.",
        mode=chosen,
        missing=wrong,
        devices=docker.cdi_devices(),
    )
