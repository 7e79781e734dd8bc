"""Provide the JSON types of the facts about a host's cards.

None means unknown; no value is guessed. The types are TypedDicts, so that `|`, json.dumps and Ansible treat them as
dicts. Optional keys are in a second class with total=False, because typing.NotRequired needs Python 3.11.
"""

from __future__ import annotations

from typing import TypedDict


class Process(TypedDict):
    """One process that uses memory of a card."""

    pid: int
    name: str | None  # None: it has ended, or runs in another namespace
    gib: float | None  # None: the driver does not report it
    kinds: list[str]  # compute and graphics
    unit: str | None  # systemd's service


class NvmlCard(TypedDict):
    """NVML's facts of one card; a fact that this card or driver does not report is None."""

    address: str  # PCI, as sysfs writes it: 0000:01:00.0
    device_id: str  # PCI device id, 4 hex digits without 0x: 2d04
    name: str | None
    uuid: str | None  # GPU-...
    compute_capability: list[int] | None  # [major, minor]: [12, 0]
    memory_gib: float | None  # NVML's total; CUDA's is about 0.45 GiB less (catalog/gpus.DRIVER_KEEPS_GIB)
    used_gib: float | None
    display_active: bool | None
    mig: bool | None  # divided into MIG instances; None: not supported, or unknown
    processes: list[Process] | None  # None: unknown; []: no process


class Card(NvmlCard):
    """The facts of one GPU from the PCI bus, and from NVML if a driver answers. All keys are always present.

    `number` is nvidia-smi's; None: no driver of NVIDIA binds the card. `error` is the nvmlReturn_t of a card that does
    not answer. `unified`: its memory is the host's.
    """

    number: int | None
    error: int | None
    unified: bool
    driver: str | None  # the kernel driver bound to it; None: none, or a card that only NVML lists (WSL)
    architecture: str | None  # turing ... rubin, or host/gpu.PRE_TURING; None: newer than the table


class NvmlState(TypedDict):
    """The result of NVML's initialization; both are None without nvidia-ml-py."""

    driver_version: str | None  # of the user-space libraries; None if NVML did not start
    error: int | None  # nvmlReturn_t; None if it started


class NvmlAnswer(NvmlState):
    """host/gpu.Answer as JSON, passed from the first inspection of a host to the second."""

    gpus: list[NvmlCard]
    lost: list[int]  # nvmlReturn_t of each card that does not answer


class GpuFacts(TypedDict):
    """The result of host/gpu.facts()."""

    gpus: list[Card]  # in PCI order; each has its number
    driver_version: str | None  # of the loaded kernel module
    nvml: NvmlState


class HolderRow(TypedDict):
    """agents/gpu_memory.Holder as JSON."""

    pid: int
    name: str | None
    unit: str | None  # systemd's; None if it belongs to no unit
    gib: float | None
    desktop: bool  # it belongs to a desktop


class LiveCard(TypedDict):
    """The current state of one card (`roundhouse gpu`)."""

    gpu: int | None  # its number; None: no driver of NVIDIA is bound to it
    uuid: str | None
    name: str
    problem: str | None  # a sentence: why no agent can use it; None if one can
    used_gib: float | None
    total_gib: float | None
    use_percent: int | None
    temperature_celsius: int | None
    power_watts: float | None
    power_limit_watts: float | None
    holders: list[HolderRow]


class Owner(TypedDict):
    """One owner of memory on a card."""

    owner: str  # an agent's name, "desktop (NAME, ...)", or "NAME (pid N)"
    kind: str  # agent, desktop or process
    gib: float | None


class CardMemory(TypedDict):
    """The memory of one card by owner (`roundhouse status`)."""

    gpu: int
    uuid: str | None
    total_gib: float
    used_gib: float
    desktop_gib: float | None  # of the desktop's processes; None: it has none, or the driver does not report them
    owners: list[Owner]
