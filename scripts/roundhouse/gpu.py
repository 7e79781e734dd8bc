"""GPU facts without a driver, from sysfs. `sys_root` is there for tests.

nvidia.ko binds to vendor 10de with the classes VGA and 3D (kernel-open/nvidia/nv-pci-table.c); an
audio function or a bridge of the same vendor is no GPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

_VENDOR = "0x10de"
_CLASSES = ("0x0300", "0x0302")


class PciGpu(NamedTuple):
    """One NVIDIA GPU on the PCI bus. `driver` is the kernel driver that holds it, None for none."""

    address: str
    device_id: str
    driver: str | None


def pci_gpus(sys_root: Path = Path("/sys")) -> list[PciGpu]:
    """Return the host's NVIDIA GPUs in PCI order, which is NVML's and nvidia-smi's order too."""
    found = []
    for device in sorted((sys_root / "bus/pci/devices").glob("*")):
        vendor, kind = ((device / name).read_text().strip() for name in ("vendor", "class"))
        if vendor == _VENDOR and kind.startswith(_CLASSES):
            driver = (device / "driver").resolve().name if (device / "driver").exists() else None
            found.append(PciGpu(device.name, (device / "device").read_text().strip().removeprefix("0x"), driver))
    return found


def loaded_driver(sys_root: Path = Path("/sys")) -> str | None:
    """Return the version of the loaded nvidia kernel module, None when it is not loaded."""
    path = sys_root / "module/nvidia/version"
    return path.read_text().strip() if path.exists() else None


def facts(sys_root: Path = Path("/sys")) -> dict[str, Any]:
    """Return {"gpus": dicts of PciGpu, "driver_version": of the loaded module or None}."""
    return {
        "gpus": [found._asdict() for found in pci_gpus(sys_root)],
        "driver_version": loaded_driver(sys_root),
    }
