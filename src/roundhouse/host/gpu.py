"""Read the facts of a host's GPUs: from the PCI bus without a driver, from NVML with one. Tests set `sys_root`.

NVML is queried through NVIDIA's nvidia-ml-py (module pynvml), which Debian and Ubuntu do not package in main. Therefore
the controller's copy is shipped with an Ansible module (ansible.cfg's module_utils) and in the command's archive
(provision/bundle.py). If it is missing, or no driver is loaded, the facts are None. state() works without it.

nvidia.ko binds to devices of vendor 10de with the classes VGA and 3D (kernel-open/nvidia/nv-pci-table.c). Other
devices of that vendor, such as audio functions and bridges, are ignored.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from ..util.units import GIB

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.cards import Card, GpuFacts, NvmlCard, Process

# nvml.h, nvmlReturn_t
LIBRARY_NOT_FOUND = 12
FUNCTION_NOT_FOUND = 13
VERSION_MISMATCH = 18


class Answer(NamedTuple):
    """NVML's answer: `driver_version` is that of the user-space libraries, None if NVML failed with the code `error`.

    Both are None without nvidia-ml-py.
    """

    driver_version: str | None
    error: int | None
    gpus: list[NvmlCard]


def read(library: ModuleType | None = None) -> Answer:
    """Return NVML's facts of all cards; `library` is the module pynvml, imported by default."""
    try:
        library = library or importlib.import_module("pynvml")
    except ModuleNotFoundError:
        return Answer(None, None, [])
    try:
        library.nvmlInit()
    except library.NVMLError as error:
        return Answer(None, error.value, [])
    try:
        handles = [library.nvmlDeviceGetHandleByIndex(index) for index in range(library.nvmlDeviceGetCount())]
        return Answer(library.nvmlSystemGetDriverVersion(), None, [_gpu(library, handle) for handle in handles])
    except library.NVMLError as error:  # for example a card that fell off the bus
        return Answer(None, error.value, [])
    finally:
        library.nvmlShutdown()


def state() -> Answer:
    """Return NVML's version, or the error if it does not start or a card does not answer; no facts of cards.

    The role inspects the driver in every run. ctypes is used because nvidia-ml-py is 330 kB to send and compile.
    """
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return Answer(None, LIBRARY_NOT_FOUND, [])
    version = ctypes.create_string_buffer(80)  # nvml.h, NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE
    try:
        if error := library.nvmlInitWithFlags(0):
            return Answer(None, error, [])
        error = library.nvmlSystemGetDriverVersion(version, len(version)) or _reach_cards(library)
        library.nvmlShutdown()
    except AttributeError:  # a driver from before 2018
        return Answer(None, FUNCTION_NOT_FOUND, [])
    return Answer(None, error, []) if error else Answer(version.value.decode(), None, [])


def _reach_cards(library: ctypes.CDLL) -> int:
    """Return the error code of the first card that does not answer, 0 if all answer."""
    count, handle = ctypes.c_uint(), ctypes.c_void_p()
    error = library.nvmlDeviceGetCount_v2(ctypes.byref(count))
    for index in range(count.value):
        pci = ctypes.create_string_buffer(256)  # larger than nvml.h's nvmlPciInfo_t; its content is not read
        error = error or library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle))
        error = error or library.nvmlDeviceGetPciInfo_v3(handle, pci)
    return int(error)


def _gpu(library: ModuleType, handle: object) -> NvmlCard:
    def ask(function: Callable[[object], Any]) -> Any:
        try:
            return function(handle)
        except library.NVMLError:  # this card, or this driver, does not support it
            return None

    pci = library.nvmlDeviceGetPciInfo(handle)
    memory = ask(library.nvmlDeviceGetMemoryInfo)
    capability = ask(library.nvmlDeviceGetCudaComputeCapability)
    display = ask(library.nvmlDeviceGetDisplayActive)
    running = [
        ask(library.nvmlDeviceGetComputeRunningProcesses),
        ask(library.nvmlDeviceGetGraphicsRunningProcesses),
    ]
    known = [process for processes in running if processes is not None for process in processes]
    return {
        "address": f"{pci.domain:04x}:{pci.bus:02x}:{pci.device:02x}.0",
        "device_id": f"{pci.pciDeviceId >> 16:04x}",
        "name": ask(library.nvmlDeviceGetName),
        "uuid": ask(library.nvmlDeviceGetUUID),
        "compute_capability": list(capability) if capability else None,
        "memory_gib": memory.total / GIB if memory else None,
        "used_gib": memory.used / GIB if memory else None,
        "display_active": None if display is None else bool(display),
        "processes": None if running == [None, None] else _processes(library, known),
    }


def _processes(library: ModuleType, running: list[Any]) -> list[Process]:
    """Return the processes by PID, each once."""
    found: dict[int, Process] = {}
    for process in running:
        try:
            name = library.nvmlSystemGetProcessName(process.pid)
        except library.NVMLError:  # it has ended, or runs in another namespace
            name = None
        used = process.usedGpuMemory
        found[process.pid] = {"pid": process.pid, "name": name, "gib": None if used is None else used / GIB}
    return sorted(found.values(), key=lambda row: row["pid"])


_VENDOR = "0x10de"
_CLASSES = ("0x0300", "0x0302")

PRE_TURING = "pre-turing"
# The high byte of the device id -> the chip's family and its compute capability. Checked against every 10de entry of
# pci.ids 2026-10-24, and against developer.nvidia.com/cuda-gpus. Bytes below 1e are missing: neither vLLM's kernels
# nor the open modules support those chips.
_ARCHITECTURES: dict[str, tuple[str, tuple[int, int] | None]] = {
    **dict.fromkeys(("1e", "1f", "21"), ("turing", (7, 5))),
    "20": ("ampere", (8, 0)),
    **dict.fromkeys(("22", "24", "25"), ("ampere", (8, 6))),
    "23": ("hopper", (9, 0)),
    **dict.fromkeys(("26", "27", "28"), ("ada", (8, 9))),
    "29": ("blackwell", (10, 0)),
    **dict.fromkeys(("2b", "2c", "2d", "2f"), ("blackwell", (12, 0))),
    "2e": ("blackwell", (12, 1)),
    **dict.fromkeys(("31", "32", "33"), ("blackwell", (10, 3))),
    "30": ("rubin", None),
}


class PciGpu(NamedTuple):
    """One NVIDIA GPU on the PCI bus. `driver` is the kernel driver bound to it, None if there is none."""

    address: str
    device_id: str
    driver: str | None


def pci_gpus(sys_root: Path = Path("/sys")) -> list[PciGpu]:
    """Return the host's NVIDIA GPUs in PCI order, which NVML and nvidia-smi use too."""
    found = []
    for device in sorted((sys_root / "bus/pci/devices").glob("*")):
        vendor, kind = ((device / name).read_text().strip() for name in ("vendor", "class"))
        if vendor == _VENDOR and kind.startswith(_CLASSES):
            driver = (device / "driver").resolve().name if (device / "driver").exists() else None
            found.append(PciGpu(device.name, (device / "device").read_text().strip().removeprefix("0x"), driver))
    return found


def loaded_driver(sys_root: Path = Path("/sys")) -> str | None:
    """Return the version of the loaded nvidia kernel module, None if it is not loaded."""
    path = sys_root / "module/nvidia/version"
    return path.read_text().strip() if path.exists() else None


def architecture(device_id: str) -> tuple[str | None, list[int] | None]:
    """Return a chip's family and its compute capability; None for a value that the table lacks."""
    family, capability = _ARCHITECTURES.get(device_id[:2].lower(), (None, None))
    if family is None and int(device_id[:2], 16) < 0x1E:
        family = PRE_TURING
    return family, list(capability) if capability else None


def facts(sys_root: Path = Path("/sys"), answer: Answer | None = None) -> GpuFacts:
    """Return the GPUs in PCI order, the loaded module's version and NVML's result; None for an unknown fact.

    A card that only NVML lists (WSL hides the PCI device) has no `driver`. Without `answer` NVML is queried.
    """
    answer = read() if answer is None else answer
    by_nvml = {gpu["address"]: gpu for gpu in answer.gpus}
    by_pci = {gpu.address: gpu for gpu in pci_gpus(sys_root)}
    return {
        "gpus": [_card(address, by_pci.get(address), by_nvml.get(address)) for address in sorted({*by_pci, *by_nvml})],
        "driver_version": loaded_driver(sys_root),
        "nvml": {"driver_version": answer.driver_version, "error": answer.error},
    }


def _card(address: str, pci: PciGpu | None, nvml: NvmlCard | None) -> Card:
    device_id = nvml["device_id"] if nvml else pci.device_id if pci else ""
    family, capability = architecture(device_id)
    return {
        "address": address,
        "device_id": device_id,
        "driver": pci.driver if pci else None,
        "architecture": family,
        "compute_capability": (nvml and nvml["compute_capability"]) or capability,
        "name": nvml["name"] if nvml else None,
        "uuid": nvml["uuid"] if nvml else None,
        "memory_gib": nvml["memory_gib"] if nvml else None,
        "used_gib": nvml["used_gib"] if nvml else None,
        "display_active": nvml["display_active"] if nvml else None,
        "processes": nvml["processes"] if nvml else None,
    }
