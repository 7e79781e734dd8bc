"""Choose the action of the role nvidia_container_toolkit from the installed packages and the role's settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from . import container_engine, docker
from .dpkg import Packages

# All four must be of one release: an older toolkit often fails with a newer library.
PACKAGES = (
    "nvidia-container-toolkit",
    "nvidia-container-toolkit-base",
    "libnvidia-container-tools",
    "libnvidia-container1",
)
# The first release whose nvidia-cdi-refresh waits for the driver; CVE-2024-0132 is fixed since 1.16.2.
MINIMUM = "1.18.2"


class Choice(NamedTuple):
    """The role's action: skip, refuse or install; `sentence` gives the reason, `mode` is cdi or legacy."""

    action: str
    sentence: str
    mode: str = ""
    missing: Sequence[str] = ()  # packages that are not installed, or not at the wanted release
    devices: Sequence[str] = ()  # CDI's current devices


def choose(engine: str | None, packages: Packages, *, runtime: str, mode: str, version: str) -> Choice:
    """Return the action for an engine of this version and the settings of the role nvidia_container_toolkit."""
    if runtime == "native":
        return Choice(
            "skip", "The agents run as native processes of systemd; no NVIDIA container toolkit is installed."
        )
    if [int(part) for part in version.split(".")] < [int(part) for part in MINIMUM.split(".")]:
        return Choice(
            "refuse",
            f"nvidia_container_toolkit_version is {version}, which does not refresh its CDI specification: "
            f"write {MINIMUM} or later.",
        )
    # Without an engine, as in check mode on a fresh host, the role container_engine installs a current one.
    has_cdi = engine is None or container_engine.major_minor(engine) >= container_engine.CDI_SINCE
    if mode == "cdi" and not has_cdi:
        return Choice(
            "refuse",
            f"nvidia_container_toolkit_mode is cdi, but Docker {engine} does not support CDI: write legacy, or install "
            "Docker 25.0 or later.",
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
