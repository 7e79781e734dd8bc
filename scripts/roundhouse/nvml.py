"""What a loaded driver says of its GPUs, through NVIDIA's own nvidia-ml-py (module pynvml).

A host has no nvidia-ml-py of its own: Debian packages it outside main and RHEL not at all. So the one
that the controller has locked travels, as one file, beside whatever asks: within an Ansible module
(ansible.cfg's module_utils) and within the command's archive (bundle.py). Where it is missing, or no
driver is loaded, the facts are None. state() does without it.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

GIB = 1024**3
# nvml.h, enum nvmlReturn_t
DRIVER_NOT_LOADED = 9
LIBRARY_NOT_FOUND = 12
FUNCTION_NOT_FOUND = 13
VERSION_MISMATCH = 18


class Answer(NamedTuple):
    """`driver_version` of the user space, None when NVML did not start: then `error` is its code.

    Both are None without nvidia-ml-py. `gpus` are dicts: `UNKNOWN`'s names, address, device_id, compute_capability.
    """

    driver_version: str | None
    error: int | None
    gpus: list[dict[str, Any]]


# What only a driver knows.
UNKNOWN: dict[str, Any] = {
    "name": None,
    "uuid": None,
    "memory_gib": None,
    "used_gib": None,
    "display_active": None,
    "processes": None,
}


def read(library: Any = None) -> Answer:
    """Ask NVML; `library` is the module pynvml, looked for on the path when not given."""
    library = library or _pynvml()
    if library is None:
        return Answer(None, None, [])
    try:
        library.nvmlInit()
    except library.NVMLError as error:
        return Answer(None, error.value, [])
    try:
        handles = [library.nvmlDeviceGetHandleByIndex(index) for index in range(library.nvmlDeviceGetCount())]
        return Answer(library.nvmlSystemGetDriverVersion(), None, [_gpu(library, handle) for handle in handles])
    except library.NVMLError as error:  # a card that fell off the bus, for one
        return Answer(None, error.value, [])
    finally:
        library.nvmlShutdown()


def state() -> Answer:
    """Ask NVML whether it starts and reaches its cards, and for its version: as read() does, without a card's facts.

    A role looks at the driver in every run, and nvidia-ml-py is 330 kB to send and to compile for these few calls.
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
    """Return the code of the first card that does not answer, as one that fell off the bus; 0 when all do."""
    count, handle = ctypes.c_uint(), ctypes.c_void_p()
    error = library.nvmlDeviceGetCount_v2(ctypes.byref(count))
    for index in range(count.value):
        pci = ctypes.create_string_buffer(256)  # more than nvml.h's nvmlPciInfo_t, which is not read here
        error = error or library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle))
        error = error or library.nvmlDeviceGetPciInfo_v3(handle, pci)
    return int(error)


def _pynvml() -> Any:
    try:
        return importlib.import_module("pynvml")
    except ModuleNotFoundError:
        return None


def _gpu(library: Any, handle: Any) -> dict[str, Any]:
    def ask(function: Callable[[Any], Any]) -> Any:
        try:
            return function(handle)
        except library.NVMLError:  # this card, or this driver, does not say
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


def _processes(library: Any, running: list[Any]) -> list[dict[str, Any]]:
    """Return {pid, name, gib} of each; one that computes and draws is one. `gib` is None where it is not told."""
    found = {}
    for process in running:
        try:
            name = library.nvmlSystemGetProcessName(process.pid)
        except library.NVMLError:  # it has ended, or runs in another namespace
            name = None
        used = process.usedGpuMemory
        found[process.pid] = {"pid": process.pid, "name": name, "gib": None if used is None else used / GIB}
    return sorted(found.values(), key=lambda row: row["pid"])
