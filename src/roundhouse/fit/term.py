"""Define one part of an engine's memory."""

from __future__ import annotations

from typing import NamedTuple


class Term(NamedTuple):
    """Hold one part of the overhead, in GiB on each rank. `inside`: it is part of gpu_memory_utilization's share."""

    name: str
    gib: float
    uncertainty_gib: float
    cause: str
    formula: str
    source: str
    inside: bool = True
