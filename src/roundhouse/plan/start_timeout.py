"""Compute the time limits of an agent's start and stop in seconds, and the number of starts that its unit tries.

The limit of a start depends on the size of the weights, the disk's rate and the compilation. It is not a forecast but
the time of the slowest acceptable start; a longer start counts as a hang.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ..errors import UsageError
from ..schema.plan import Decided, Limits, StartLimit
from ..util.units import GIB, MIB
from ..vllm import options
from .decide import Host

# Time before the engine reads weights: a tiny model took 28 to 53 s in all (vLLM 0.32 on two busy cores).
PROCESS_SECONDS = 60.0
# A cold start on compute capability 12.0 took 43 s to compile and 210 s for warm-up and graphs (vllm#44881).
GRAPHS_SECONDS = 260.0
# With enforce_eager the engine only measures its memory, with one pass of the largest batch.
EAGER_SECONDS = 30.0
# The assumed rate of a disk that was not measured: an old hard disk.
UNKNOWN_DISK = 100 * MIB
# The engine reads through page faults, at about half the rate of a sequential read.
READING_SHARE = 0.5
# Other programs may use the disk and the cores at the same time.
MARGIN = 1.5
# The factor for the slowest start that became ready on this host.
SEEN_TIMES = 2.0
# The limit for a model of unknown size.
UNKNOWN_SECONDS = 900
_STEP_SECONDS = 10
SET = "set by agents_start_timeout_seconds"
_SET = (SET, "agents_start_timeout_seconds says so")  # The second is in plans of earlier versions.
# The deployed limit is kept unless a limit above it by this factor is needed, because measurements of a disk vary.
_STAYS = 1.25


class Load(NamedTuple):
    """The work of a start. `disk` is in bytes per second; None means unknown."""

    weights_bytes: float | None
    disk: float | None
    eager: bool
    slowest_seconds: float | None = None  # of the starts of this model that became ready on this host


def compute(load: Load) -> StartLimit:
    """Return the limit in seconds, and its terms in words."""
    if load.weights_bytes is None:
        computed, why = float(UNKNOWN_SECONDS), "the model's size is unknown"
    else:
        rate = UNKNOWN_DISK if load.disk is None else load.disk * READING_SHARE
        reading = load.weights_bytes / rate
        making = EAGER_SECONDS if load.eager else GRAPHS_SECONDS
        computed = MARGIN * (PROCESS_SECONDS + reading + making)
        gives = (
            "because its disk was not measured" if load.disk is None else f"half of its disk's {load.disk / MIB:.0f}"
        )
        work = "measure memory" if load.eager else "compile, measure memory and capture graphs"
        why = (
            f"{MARGIN:g} x ({PROCESS_SECONDS:.0f} s process start + "
            f"{reading:.0f} s for {load.weights_bytes / GIB:.2f} GiB at {rate / MIB:.0f} MiB/s, {gives}, "
            f"+ {making:.0f} s to {work})"
        )
    seen = SEEN_TIMES * (load.slowest_seconds or 0.0)
    if seen > computed:
        computed, why = seen, f"{SEEN_TIMES:g} x the slowest successful start here, {load.slowest_seconds:.0f} s"
    return {"seconds": _STEP_SECONDS * math.ceil(computed / _STEP_SECONDS), "why": why}


def _seconds(setting: object) -> int:
    try:
        seconds = int(str(setting))
    except ValueError:
        seconds = 0
    if seconds < 1:
        remedy = "Write a number of seconds, such as 900, or leave it empty to let the plan compute it."
        value = setting if isinstance(setting, (str, int, float)) else str(setting)
        raise UsageError("start_timeout_invalid", "agents_start_timeout_seconds is {value!r}.", remedy, value=value)
    return seconds


# systemd kills an engine this long after the end of the engine's own drain.
STOP_MARGIN_SECONDS = 30
# An engine that crashed may release its port and its card a moment later.
RESTART_SECONDS = 5
# Starts in a window before failover to the previous agent: enough for temporary failures, and few enough that users
# wait minutes and not an hour.
START_TRIES = 4


class Start(NamedTuple):
    """An agent's start: the model's folder, which may be in the store, and `eager` for no compilation."""

    agent: str
    model_path: str
    store: str
    eager: bool


def limits(start: Start, decided: Decided, host: Host, setting: object) -> Limits:
    """Return the limits of one agent of the plan. `setting` is agents_start_timeout_seconds, None to compute.

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
        # The window is one hour, or the time of START_TRIES starts that each time out, if that is longer.
        "start_tries_seconds": max(3600, START_TRIES * (limit["seconds"] + stop_seconds + RESTART_SECONDS) + 60),
    }


def _limit(start: Start, decided: Decided, host: Host, setting: object) -> StartLimit:
    """Return the setting, else the deployed limit of the same start if it is sufficient, else the computed limit."""
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
    if before is None or before["model_path"] != start.model_path or before.get("start_timeout_why", SET) in _SET:
        return made
    enough = made["seconds"] <= before["start_timeout_seconds"] * _STAYS
    if not enough or ("enforce-eager" in before["config"]) != start.eager:
        return made
    return {"seconds": before["start_timeout_seconds"], "why": before["start_timeout_why"]}
