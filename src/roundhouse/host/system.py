"""Identify the host's operating system and machine, and report why Roundhouse does not support them.

`root` is the root of the host's file tree: "/" except in tests.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import NamedTuple

# The releases in the roles' tables of platforms (roles/*/vars/main), with the names that those tables use.
SUPPORTED: tuple[str, ...] = (
    "Debian 12",
    "Debian 13",
    "Ubuntu 22.04",
    "Ubuntu 24.04",
    "Ubuntu 26.04",
    "RHEL 9",
    "RHEL 10",
    "Rocky 9",
)
SUPPORTED += ("Rocky 10", "AlmaLinux 9", "AlmaLinux 10")
_RED_HAT = {"rhel": "RHEL", "rocky": "Rocky", "almalinux": "AlmaLinux"}  # whose minor releases are one release here
_DISTRIBUTIONS = {"debian": "Debian", "ubuntu": "Ubuntu", **_RED_HAT}  # by ID in os-release
NATIVE_ARCHITECTURE = "x86_64"  # of the locked environments in requirements/
ARCHITECTURES = (NATIVE_ARCHITECTURE, "aarch64")
WSL, JETSON = "WSL2", "Jetson"
# Files of NVIDIA's Linux for Tegra. The device tree names the chip also without that release file.
_TEGRA_RELEASE = "etc/nv_tegra_release"
_DEVICE_TREE = "proc/device-tree/compatible"


class System(NamedTuple):
    """The host's system: `release` as in SUPPORTED, None for others; `kind` is WSL or JETSON, None for others."""

    name: str
    release: str | None
    architecture: str
    kind: str | None


def inspect(root: Path = Path("/")) -> System:
    """Return the host's system."""
    fields = _os_release(root)
    distribution, version = _DISTRIBUTIONS.get(fields.get("ID", "")), fields.get("VERSION_ID", "")
    release = f"{distribution} {version.partition('.')[0] if fields.get('ID') in _RED_HAT else version}"
    return System(
        name=fields.get("PRETTY_NAME", "an unknown system"),
        release=release if release in SUPPORTED else None,
        architecture=platform.machine(),
        kind=_kind(root),
    )


def has_dnf(root: Path = Path("/")) -> bool:
    """Return true on RHEL and its rebuilds, whose packages are dnf's."""
    return _os_release(root).get("ID") in _RED_HAT


def problem(system: System, accelerator: str) -> str | None:
    """Return the reason why no role supports this system, None if it is supported."""
    if accelerator == "cuda" and system.kind == WSL:
        return (
            "This host is WSL2, where Roundhouse supports no GPU. Use a host that boots Linux, or set "
            "engine_accelerator: cpu."
        )
    if accelerator == "cuda" and system.kind == JETSON:
        return (
            "This host is an NVIDIA Jetson, whose integrated GPU Roundhouse does not support. Use a host with a PCI "
            "GPU or a DGX Spark."
        )
    if system.release is None:
        return (
            f"This host runs {system.name}, but Roundhouse supports only {', '.join(SUPPORTED)}. Install one of these "
            "releases."
        )
    if system.architecture not in ARCHITECTURES:
        return (
            f"This host's architecture is {system.architecture}, but Roundhouse supports only "
            f"{' and '.join(ARCHITECTURES)}. Use a host with one of these."
        )
    return None


def _os_release(root: Path) -> dict[str, str]:
    path = root / "etc/os-release"
    lines = path.read_text().splitlines() if path.exists() else []
    return {name: value.strip("\"'") for name, _, value in (line.partition("=") for line in lines)}


def _kind(root: Path) -> str | None:
    release = root / "proc/sys/kernel/osrelease"
    if (root / "dev/dxg").exists() or (release.exists() and "microsoft" in release.read_text().lower()):
        return WSL
    tree = root / _DEVICE_TREE
    if (root / _TEGRA_RELEASE).exists() or (tree.exists() and b"nvidia,tegra" in tree.read_bytes()):
        return JETSON
    return None
