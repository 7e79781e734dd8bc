"""Compute how long an agent's start and stop may take, and how many starts its unit tries.

The limit of a start follows from what it has to load, what the disk gives, and what it compiles. It is not a forecast
but what the slowest start takes that is still worth waiting for: a longer one is a hang.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ..errors import UsageError
from ..schema.plan import Decided, Limits, StartLimit
from ..util.units import GIB, MIB
from ..vllm import options
from .decide import Host

# Until it reads weights: 28 to 53 s in all for a model of next to nothing (vLLM 0.32 on two busy cores).
PROCESS_SECONDS = 60.0
# Compilation 43 s, warm-up and graphs 210 s, as was reported of a cold start on compute capability 12.0 (vllm#44881).
GRAPHS_SECONDS = 260.0
# With enforce_eager only memory is measured, by one pass of the largest batch.
EAGER_SECONDS = 30.0
# A disk that was not measured: an old one with moving parts.
UNKNOWN_DISK = 100 * MIB
# The engine reads through page faults, which gives about half of what reading in one go does.
READING_SHARE = 0.5
# Another program may have the disk and the cores meanwhile.
MARGIN = 1.5
# Of the slowest start that was ready here.
SEEN_TIMES = 2.0
# Where the model's size is not known either.
UNKNOWN_SECONDS = 900
_STEP_SECONDS = 10
SET = "agents_start_timeout_seconds says so"
# What is deployed stays, unless this much more is needed: two measurements of one disk differ by more than a little.
_STAYS = 1.25


class Load(NamedTuple):
    """What a start has to do. `disk` are bytes per second; None is not known."""

    weights_bytes: float | None
    disk: float | None
    eager: bool
    slowest_seconds: float | None = None  # of the starts of this model that were ready here


def compute(load: Load) -> StartLimit:
    """Return the limit, and its terms for a person."""
    if load.weights_bytes is None:
        computed, why = float(UNKNOWN_SECONDS), "how large the model is is not known"
    else:
        rate = UNKNOWN_DISK if load.disk is None else load.disk * READING_SHARE
        reading = load.weights_bytes / rate
        making = EAGER_SECONDS if load.eager else GRAPHS_SECONDS
        computed = MARGIN * (PROCESS_SECONDS + reading + making)
        gives = "as its disk was not measured" if load.disk is None else f"half of its disk's {load.disk / MIB:.0f}"
        work = "measure memory" if load.eager else "compile, measure memory and capture graphs"
        why = (
            f"{MARGIN:g} x ({PROCESS_SECONDS:.0f} s to begin + {reading:.0f} s for {load.weights_bytes / GIB:.2f} GiB "
            f"at {rate / MIB:.0f} MiB/s, {gives}, + {making:.0f} s to {work})"
        )
    seen = SEEN_TIMES * (load.slowest_seconds or 0.0)
    if seen > computed:
        computed, why = seen, f"{SEEN_TIMES:g} x the slowest start that was ready here, {load.slowest_seconds:.0f} s"
    return {"seconds": _STEP_SECONDS * math.ceil(computed / _STEP_SECONDS), "why": why}


def _seconds(setting: object) -> int:
    try:
        seconds = int(str(setting))
    except ValueError:
        seconds = 0
    if seconds < 1:
        remedy = "Write seconds, such as 900, or leave it empty: then the plan computes it."
        value = setting if isinstance(setting, (str, int, float)) else str(setting)
        raise UsageError("start_timeout_invalid", "agents_start_timeout_seconds is {value!r}.", remedy, value=value)
    return seconds


# systemd waits this much longer than the engine's own drain before it kills.
STOP_MARGIN_SECONDS = 30
# An engine that dies may leave its port and its card a moment later.
RESTART_SECONDS = 5
# Starts in a window before an agent is given up and the previous agent has the card again: enough for what passes by
# itself, few enough that the users wait minutes and not an hour.
START_TRIES = 4


class Start(NamedTuple):
    """What an agent's start loads: the model's folder, which may lie in the store, and whether nothing is compiled."""

    agent: str
    model_path: str
    store: str
    eager: bool


def limits(start: Start, decided: Decided, host: Host, setting: object) -> Limits:
    """Return the limits of one agent as the plan has them. `setting` is agents_start_timeout_seconds, None to compute.

    Raises UsageError for a setting that is not a number of seconds.
    """
    limit = _limit(start, decided, host, setting)
    stop_seconds = options.SHUTDOWN_TIMEOUT_SECONDS + STOP_MARGIN_SECONDS
    return {
        "start_timeout_seconds": limit["seconds"],
        "start_timeout_why": limit["why"],
        "stop_timeout_seconds": stop_seconds,
        "restart_seconds": RESTART_SECONDS,
        "start_tries": START_TRIES,
        # So many starts end in giving up within an hour, or within what they take when each is too slow.
        "start_tries_seconds": max(3600, START_TRIES * (limit["seconds"] + stop_seconds + RESTART_SECONDS) + 60),
    }


def _limit(start: Start, decided: Decided, host: Host, setting: object) -> StartLimit:
    """Return what group_vars set, else what is deployed of the same start where that is enough, else the terms' sum."""
    if setting not in (None, ""):
        return {"seconds": _seconds(setting), "why": SET}
    own = host.disk.get(start.model_path)
    disk = own or host.disk.get(start.store)
    fitted = decided["fit"]["weights_gib_per_rank"] if decided["fit"] else None
    fitted_bytes = None if fitted is None else fitted * len(decided["gpus"]) * GIB
    seen = [float(each["seconds"]) for each in host.starts if each["model_path"] == start.model_path]
    load = Load(
        weights_bytes=own["weights_bytes"] if own else fitted_bytes,
        disk=disk["bytes_per_second"] if disk else None,
        eager=start.eager,
        slowest_seconds=max(seen, default=None),
    )
    made, before = compute(load), None if host.again else host.deployed_agent(start.agent)
    if before is None or before["model_path"] != start.model_path or before.get("start_timeout_why", SET) == SET:
        return made
    enough = made["seconds"] <= before["start_timeout_seconds"] * _STAYS
    if not enough or ("enforce-eager" in before["config"]) != start.eager:
        return made
    return {"seconds": before["start_timeout_seconds"], "why": before["start_timeout_why"]}
