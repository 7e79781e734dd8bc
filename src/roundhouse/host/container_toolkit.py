"""NVIDIA's container toolkit on a host: what is there, and what is to be done about it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import NamedTuple

from . import docker
from .packages import Packages

# All of one release: a newer library under an older toolkit is the usual way to break it.
PACKAGES = (
    "nvidia-container-toolkit",
    "nvidia-container-toolkit-base",
    "libnvidia-container-tools",
    "libnvidia-container1",
)
# The first release whose nvidia-cdi-refresh waits for the driver; and CVE-2024-0132 is mended since 1.16.2.
MINIMUM = "1.18.2"
ALL_GPUS = "nvidia.com/gpu=all"


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
    # No engine yet, as in check mode on a fresh host: the one that will be there is current.
    can = engine is None or docker.number(engine) >= docker.CDI_SINCE
    if mode == "cdi" and not can:
        return Choice(
            "refuse",
            f"nvidia_container_toolkit_mode is cdi, and Docker {engine} knows no CDI: write legacy, or take an "
            "engine from 25.0.",
        )
    chosen = mode if mode != "auto" else "cdi" if can else "legacy"
    wrong = [name for name in PACKAGES if packages.versions.get(name, "").partition("-")[0] != version]
    return Choice("install", f"NVIDIA container toolkit {version}, {chosen}.", chosen, wrong, devices())


def devices() -> list[str]:
    """Return the devices that CDI offers, none where the toolkit is not there or has no driver."""
    try:
        done = subprocess.run(["nvidia-ctk", "cdi", "list"], capture_output=True, text=True, check=False, timeout=30)
    except FileNotFoundError:
        return []
    return [word for word in done.stdout.split() if word.startswith("nvidia.com/")]
