"""Read the host's memory, which a card with unified memory (GB10) shares."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..util.units import GIB

_KIB = 1024


class Memory(NamedTuple):
    """The host's memory in GiB; `available_gib` includes memory that the kernel can reclaim, as vLLM counts it."""

    total_gib: float
    available_gib: float


def read(path: Path = Path("/proc/meminfo")) -> Memory | None:
    """Return the host's memory, None without the file."""
    if not path.exists():
        return None
    kib = {
        name: int(value.split()[0])
        for name, _, value in (line.partition(":") for line in path.read_text().splitlines())
    }
    return Memory(kib["MemTotal"] * _KIB / GIB, kib["MemAvailable"] * _KIB / GIB)
