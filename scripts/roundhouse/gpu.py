"""A host's GPUs as facts: from the PCI bus without a driver, from NVML with one. `sys_root` is there for tests.

nvidia.ko binds to vendor 10de with the classes VGA and 3D (kernel-open/nvidia/nv-pci-table.c); an
audio function or a bridge of the same vendor is no GPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from . import nvml

_VENDOR = "0x10de"
_CLASSES = ("0x0300", "0x0302")

PRE_TURING = "pre-turing"
# A chip's family stands in the high byte of its device id: checked against every 10de entry of
# pci.ids 2026-10-24. The compute capability is the chip's, from developer.nvidia.com/cuda-gpus;
# below 1e are many, and none that vLLM's kernels or the open modules know.
_ARCHITECTURES: dict[str, tuple[str, tuple[int, int] | None]] = {
    "1e": ("turing", (7, 5)),
    "1f": ("turing", (7, 5)),
    "21": ("turing", (7, 5)),
    "20": ("ampere", (8, 0)),
    "22": ("ampere", (8, 6)),
    "24": ("ampere", (8, 6)),
    "25": ("ampere", (8, 6)),
    "23": ("hopper", (9, 0)),
    "26": ("ada", (8, 9)),
    "27": ("ada", (8, 9)),
    "28": ("ada", (8, 9)),
    "29": ("blackwell", (10, 0)),
    "2b": ("blackwell", (12, 0)),
    "2c": ("blackwell", (12, 0)),
    "2d": ("blackwell", (12, 0)),
    "2f": ("blackwell", (12, 0)),
    "2e": ("blackwell", (12, 1)),
    "31": ("blackwell", (10, 3)),
    "32": ("blackwell", (10, 3)),
    "33": ("blackwell", (10, 3)),
    "30": ("rubin", None),
}


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


def architecture(device_id: str) -> tuple[str | None, list[int] | None]:
    """Return a chip's family and its compute capability; None for what the table does not know."""
    family, capability = _ARCHITECTURES.get(device_id[:2].lower(), (None, None))
    if family is None and int(device_id[:2], 16) < 0x1E:
        family = PRE_TURING
    return family, list(capability) if capability else None


def facts(sys_root: Path = Path("/sys"), answer: nvml.Answer | None = None) -> dict[str, Any]:
    """Return the GPUs in PCI order, the loaded module's version, and how NVML answered.

    {"gpus": [{"address", "device_id", "driver", "architecture", "compute_capability": [12, 0],
    "name", "uuid", "memory_gib", "used_gib", "display_active", "processes": [{"pid", "name", "gib"}]}],
    "driver_version", "nvml": {"driver_version", "error"}}; None for what is not known.
    A card that NVML alone shows (WSL hides the PCI device) has no `driver`. `answer` is NVML's, asked when not given.
    """
    answer = nvml.read() if answer is None else answer
    told = {gpu["address"]: gpu for gpu in answer.gpus}
    found: dict[str, dict[str, Any]] = {gpu.address: gpu._asdict() for gpu in pci_gpus(sys_root)}
    for address in sorted({*found, *told}):
        card = found.setdefault(address, {"driver": None})
        family, capability = architecture((card | told.get(address, {}))["device_id"])
        card |= {"architecture": family, "compute_capability": capability, **nvml.UNKNOWN}
        card |= {name: value for name, value in told.get(address, {}).items() if value is not None}
    return {
        "gpus": [found[address] for address in sorted(found)],
        "driver_version": loaded_driver(sys_root),
        "nvml": {"driver_version": answer.driver_version, "error": answer.error},
    }
