"""The shapes of what is known of a host's cards, as JSON.

A value of None is not known, never a guess. Shapes are TypedDicts, so `|`, json.dumps and Ansible take them as dicts.
Optional keys stand in a second class with total=False, because typing.NotRequired needs Python 3.11.
"""

from __future__ import annotations

from typing import TypedDict


class Process(TypedDict):
    """One process with memory on a card."""

    pid: int
    name: str | None  # None: it has ended, or runs in another namespace
    gib: float | None  # None where the driver does not tell


class NvmlCard(TypedDict):
    """What NVML says of one card; a fact that this card or driver does not state is None."""

    address: str  # PCI, as sysfs writes it: 0000:01:00.0
    device_id: str  # PCI device id, 4 hex digits without 0x: 2d04
    name: str | None
    uuid: str | None  # GPU-...
    compute_capability: list[int] | None  # [major, minor]: [12, 0]
    memory_gib: float | None  # NVML's total; CUDA's is about 0.45 GiB less (catalog/gpus.DRIVER_KEEPS_GIB)
    used_gib: float | None
    display_active: bool | None
    processes: list[Process] | None  # None: unknown; []: no process


class Card(NvmlCard):
    """The facts of one GPU: those of the PCI bus, and NVML's where a driver answers. All keys are always there."""

    driver: str | None  # the kernel driver that holds it; None: none, or a card that NVML alone shows (WSL)
    architecture: str | None  # turing ... rubin, or host/gpu.PRE_TURING; None: newer than the table


class NvmlState(TypedDict):
    """How NVML answered; both are None without nvidia-ml-py."""

    driver_version: str | None  # of the user space; None where NVML did not start
    error: int | None  # nvmlReturn_t; None where it started


class NvmlAnswer(NvmlState):
    """host/nvml.Answer as JSON, handed from the first look at a host to the second."""

    gpus: list[NvmlCard]


class GpuFacts(TypedDict):
    """What host/gpu.facts() returns."""

    gpus: list[Card]  # in PCI order, which is NVML's and nvidia-smi's: the position is the card's number
    driver_version: str | None  # of the loaded kernel module
    nvml: NvmlState


class HolderRow(TypedDict):
    """agents/gpu_memory.Holder as JSON."""

    pid: int
    name: str | None
    unit: str | None  # systemd's; None where it has none
    gib: float | None


class LiveCard(TypedDict):
    """What one card does now (`roundhouse gpu`)."""

    gpu: int  # its number
    name: str
    used_gib: float | None
    total_gib: float | None
    use_percent: int | None
    temperature_celsius: int | None
    power_watts: float | None
    power_limit_watts: float | None
    holders: list[HolderRow]


class Owner(TypedDict):
    """One who holds memory of a card."""

    owner: str  # an agent's name, or "NAME (pid N)"
    gib: float | None


class CardMemory(TypedDict):
    """Who holds one card's memory (`roundhouse status`)."""

    gpu: int
    total_gib: float
    used_gib: float
    owners: list[Owner]
