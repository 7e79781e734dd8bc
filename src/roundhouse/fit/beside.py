"""Define the memory of a card that a desktop or the host's system uses beside the engine."""

from __future__ import annotations

from .term import Term

DISPLAY_RESIDENT = Term(
    name="display_resident",
    gib=0.7,
    uncertainty_gib=0.5,
    inside=False,
    cause="a desktop's own surfaces; the free memory must exceed the engine's share",
    formula="a constant for a shared card",
    source="public reports of a desktop on the card: 0.5 to 1 GiB",
)
# The system keeps at least this: an idle DGX Spark has 113.1 of 121.7 GiB available.
SYSTEM_FLOOR_GIB = 8.6
PAGE_CACHE = Term(
    name="page_cache",
    gib=0.0,
    uncertainty_gib=3.0,
    cause="the host's page cache, which is filled or dropped while vLLM compares the free memory before and after",
    formula="not computable; a band",
    source="vLLM 0.32 utils/mem_utils.py (psutil's available memory); three starts on a GB10: -2.9 to +2.0 GiB",
)
SYSTEM = Term(
    name="system_resident",
    gib=SYSTEM_FLOOR_GIB,
    uncertainty_gib=1.0,
    inside=False,
    cause="the memory of the host's other processes, which a card with unified memory shares",
    formula="MemTotal - MemAvailable - the agents' memory, at least 8.6 GiB",
    source="/proc/meminfo when the plan was made; an idle DGX Spark: XuehaiPan/nvitop#208",
)
# vLLM 0.32 releases cached memory of such a card when less than 20 % of the host's memory is available. It expects the
# system to thrash otherwise (utils/mem_utils.py, _UMA_PRESSURE_THRESHOLD).
UNIFIED_SHARE = 0.8
UNIFIED_RANGE = f"write a value from 0.5 to {UNIFIED_SHARE:g}"


def desktop(measured_gib: float | None) -> Term:
    """Return the desktop's memory: as measured, but at least the constant, because a session grows."""
    if measured_gib is None or measured_gib <= DISPLAY_RESIDENT.gib:
        return DISPLAY_RESIDENT
    formula, source = "used memory - processes that compute - the driver's part", "NVML, when the plan was made"
    return DISPLAY_RESIDENT._replace(gib=measured_gib, formula=formula, source=source)


def system(used_gib: float) -> Term:
    """Return the memory of the system beside the engine, on a host whose memory the card shares."""
    return SYSTEM._replace(gib=max(used_gib, SYSTEM.gib))
