"""Read the facts of a host's GPUs: from the PCI bus without a driver, from NVML with one. Tests set `sys_root`.

NVML is queried through NVIDIA's nvidia-ml-py (module pynvml), which Debian and Ubuntu do not package in main. Therefore
the controller's copy is shipped with an Ansible module (ansible.cfg's module_utils) and in the command's archive
(provision/bundle.py). If it is missing, or no driver is loaded, the facts are None. state() works without it.

nvidia.ko binds to devices of vendor 10de with the classes VGA and 3D (kernel-open/nvidia/nv-pci-table.c). Other
devices of that vendor, such as audio functions and bridges, are ignored.

A card's number is its place among the cards of NVIDIA's driver in PCI order, as in NVML and nvidia-smi. Before a driver
is loaded, the cards that it will not bind have no number either: old chips, and cards of a virtual machine (vfio-pci).
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from ..util.units import GIB
from . import gpu_process, memory

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.cards import Card, GpuFacts, NvmlCard

# nvml.h, nvmlReturn_t
LIBRARY_NOT_FOUND = 12
FUNCTION_NOT_FOUND = 13
IS_LOST = 15
VERSION_MISMATCH = 18


class Answer(NamedTuple):
    """NVML's answer: `driver_version` is that of the user-space libraries, None if NVML failed with the code `error`.

    Both are None without nvidia-ml-py. `lost` has the error of each card that does not answer. If no card answers,
    NVML failed.
    """

    driver_version: str | None
    error: int | None
    gpus: list[NvmlCard]
    lost: list[int]


def read(library: ModuleType | None = None) -> Answer:
    """Return NVML's facts of all cards; `library` is the module pynvml, imported by default."""
    if library is None and _nvml() is None:  # as nvidia-ml-py reports it, which takes longest of all to import
        return Answer(None, LIBRARY_NOT_FOUND, [], [])
    try:
        library = library or importlib.import_module("pynvml")
    except ModuleNotFoundError:
        return Answer(None, None, [], [])
    try:
        library.nvmlInit()
    except library.NVMLError as error:
        return Answer(None, error.value, [], [])
    found, lost = [], []
    try:
        version = library.nvmlSystemGetDriverVersion()
        for index in range(library.nvmlDeviceGetCount()):
            try:
                found.append(_gpu(library, library.nvmlDeviceGetHandleByIndex(index)))
            except library.NVMLError as error:  # for example a card that fell off the bus; the others still answer
                lost.append(error.value)
    except library.NVMLError as error:
        return Answer(None, error.value, [], [])
    finally:
        library.nvmlShutdown()
    return Answer(None, lost[0], [], lost) if lost and not found else Answer(version, None, found, lost)


def _nvml() -> ctypes.CDLL | None:
    """Return the driver's library, None if it is not installed."""
    try:
        return ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None


def state() -> Answer:
    """Return NVML's version, or the error if it does not start or no card answers; no facts of cards.

    The role inspects the driver in every run. ctypes is used because nvidia-ml-py is 330 kB to send and compile.
    """
    library = _nvml()
    if library is None:
        return Answer(None, LIBRARY_NOT_FOUND, [], [])
    version = ctypes.create_string_buffer(80)  # nvml.h, NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE
    try:
        if error := library.nvmlInitWithFlags(0):
            return Answer(None, error, [], [])
        error = library.nvmlSystemGetDriverVersion(version, len(version)) or _reach_cards(library)
        library.nvmlShutdown()
    except AttributeError:  # a driver from before 2018
        return Answer(None, FUNCTION_NOT_FOUND, [], [])
    return Answer(None, error, [], []) if error else Answer(version.value.decode(), None, [], [])


def _reach_cards(library: ctypes.CDLL) -> int:
    """Return the error code of the first card if none answers, else 0."""
    count, handle = ctypes.c_uint(), ctypes.c_void_p()
    if error := library.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        return int(error)
    errors = []
    for index in range(count.value):
        pci = ctypes.create_string_buffer(256)  # larger than nvml.h's nvmlPciInfo_t; its content is not read
        error = library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle))
        errors.append(int(error or library.nvmlDeviceGetPciInfo_v3(handle, pci)))
    return errors[0] if all(errors) and errors else 0


def _gpu(library: ModuleType, handle: object) -> NvmlCard:
    def ask(function: Callable[[object], Any]) -> Any:
        try:
            return function(handle)
        except library.NVMLError as error:
            if error.value == IS_LOST:
                raise
            return None  # this card, or this driver, does not support it

    pci = library.nvmlDeviceGetPciInfo(handle)
    memory = ask(library.nvmlDeviceGetMemoryInfo)
    capability = ask(library.nvmlDeviceGetCudaComputeCapability)
    display = ask(library.nvmlDeviceGetDisplayActive)
    mig = ask(library.nvmlDeviceGetMigMode)
    running = {
        gpu_process.COMPUTE: ask(library.nvmlDeviceGetComputeRunningProcesses),
        gpu_process.GRAPHICS: ask(library.nvmlDeviceGetGraphicsRunningProcesses),
    }
    return {
        "address": f"{pci.domain:04x}:{pci.bus:02x}:{pci.device:02x}.0",
        "device_id": f"{pci.pciDeviceId >> 16:04x}",
        "name": ask(library.nvmlDeviceGetName),
        "uuid": ask(library.nvmlDeviceGetUUID),
        "compute_capability": list(capability) if capability else None,
        "memory_gib": memory.total / GIB if memory else None,
        "used_gib": memory.used / GIB if memory else None,
        "display_active": None if display is None else bool(display),
        "mig": None if mig is None else bool(mig[0]),
        "processes": None if [*running.values()] == [None, None] else gpu_process.listed(library, running),
    }


_NVIDIA = "nvidia"  # the name of the kernel driver
_VENDOR = "0x10de"
_CLASSES = ("0x0300", "0x0302")

PRE_TURING = "pre-turing"
PRE_MAXWELL = "pre-maxwell"  # R470 was the last driver of these chips, such as a GT 710.
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
_TURING, _MAXWELL = 0x1E, 0x13  # the first high byte of each
_GB10 = "2e"


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
    if family is None and int(device_id[:2], 16) < _TURING:
        family = PRE_TURING if int(device_id[:2], 16) >= _MAXWELL else PRE_MAXWELL
    return family, list(capability) if capability else None


def facts(sys_root: Path = Path("/sys"), answer: Answer | None = None) -> GpuFacts:
    """Return the GPUs in PCI order, the loaded module's version and NVML's result; None for an unknown fact.

    A card that does not answer keeps its number, because its driver is still bound to it. A card that only NVML lists
    (WSL hides the PCI device) has no `driver`. Without `answer` NVML is queried.
    """
    answer = read() if answer is None else answer
    by_nvml = {gpu["address"]: gpu for gpu in answer.gpus}
    by_pci = {gpu.address: gpu for gpu in pci_gpus(sys_root)}
    numbers = _numbers(by_pci, by_nvml)
    meminfo = memory.read(sys_root.parent / "proc/meminfo")
    found = [_card(address, by_pci.get(address), by_nvml.get(address)) for address in sorted({*by_pci, *by_nvml})]
    lost = list(answer.lost)
    for card in found:
        card["number"] = numbers.get(card["address"])
        if by_nvml and card["address"] not in by_nvml and card["driver"] == _NVIDIA:
            card["error"] = lost.pop(0) if lost else IS_LOST
        if card["unified"] and meminfo:
            card["memory_gib"], card["used_gib"] = meminfo.total_gib, meminfo.total_gib - meminfo.available_gib
    return {
        "gpus": found,
        "driver_version": loaded_driver(sys_root),
        "nvml": {"driver_version": answer.driver_version, "error": answer.error},
    }


def by_id(facts: GpuFacts, uuid: str | None, number: int) -> Card | None:
    """Return a card by its UUID, else by its number, as in a plan of an earlier version; None if it is not there."""
    return next((card for card in facts["gpus"] if (card["uuid"] == uuid if uuid else card["number"] == number)), None)


def _numbers(by_pci: dict[str, PciGpu], by_nvml: dict[str, NvmlCard]) -> dict[str, int]:
    """Return the number of each card by its address."""
    driven = {address for address, card in by_pci.items() if card.driver == _NVIDIA} | by_nvml.keys()
    later = {
        address
        for address, card in by_pci.items()
        if card.driver != "vfio-pci" and architecture(card.device_id)[0] != PRE_MAXWELL
    }
    return {address: number for number, address in enumerate(sorted(driven or later))}


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
        "mig": nvml["mig"] if nvml else None,
        "processes": nvml["processes"] if nvml else None,
        "number": None,
        "error": None,
        "unified": device_id.startswith(_GB10) and not (nvml and nvml["memory_gib"]),
    }
