"""Find reasons for slow inference: the KV cache, the queue, the GPU, and settings of the roster.

NVML reports a GPU's lowered clocks and their reason, its power limit, and the other processes that compute on it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import ModuleType
from typing import NamedTuple

from ..agents import gpu_usage
from ..agents.gpu_memory import Card
from ..agents.gpu_usage import MILLI, Question
from ..doctor.cause import PLAN_AGAIN
from ..doctor.diagnosis import Finding
from ..schema.plan import Agent
from ..vllm import client

# nvml.h, nvmlClocksEventReasons: reasons for lowered clocks under load. An idle GPU (1) is not throttled, nor one whose
# administrator set its clocks (2). A power cap (4) throttles if it is below the maker's limit.
POWER_CAP = 0x4
_THROTTLED_BY = {
    0x8: "the hardware slows it down (heat or power supply)",
    0x20: "it is too hot",
    0x40: "the hardware slows it down because it is too hot",
    0x80: "the power supply limits it",
}
_MICRO = 1_000_000
# The age up to which NVML's samples of computing processes count.
_SAMPLES_SECONDS = 10


class Throttling(NamedTuple):
    """One GPU's clocks, temperature and power; None if it does not report one. `busy`: percent of its time by pid."""

    temperature_celsius: float | None
    power_watts: float | None
    power_limit_watts: float | None
    power_default_watts: float | None
    clocks: int | None
    busy: dict[int, int] | None

    def reasons(self) -> list[str]:
        """Return a phrase for each reason for which its clocks are lowered now."""
        found = [reason for bit, reason in _THROTTLED_BY.items() if (self.clocks or 0) & bit]
        limit, default = self.power_limit_watts, self.power_default_watts
        if (self.clocks or 0) & POWER_CAP and limit is not None and default is not None and limit < default:
            found.append(f"its power limit is {limit:.0f} W, and the maker's is {default:.0f} W")
        return found


def throttling(uuid: str, library: ModuleType | None = None) -> Throttling:
    """Return the throttling of a GPU that NVML knows."""
    return Throttling(**gpu_usage.ask(uuid, _ASKED, library))


def _clocks(library: ModuleType, handle: object) -> int:
    try:
        return int(library.nvmlDeviceGetCurrentClocksEventReasons(handle))
    except library.NVMLError:  # the function's name before driver 535
        return int(library.nvmlDeviceGetCurrentClocksThrottleReasons(handle))


def _busy(library: ModuleType, handle: object) -> dict[int, int]:
    since = int((time.time() - _SAMPLES_SECONDS) * _MICRO)
    found: dict[int, int] = {}
    for sample in library.nvmlDeviceGetProcessUtilization(handle, since):
        found[sample.pid] = max(found.get(sample.pid, 0), sample.smUtil)
    return found


_ASKED: dict[str, Question] = {
    "temperature_celsius": lambda library, handle: library.nvmlDeviceGetTemperature(handle, 0),
    "power_watts": lambda library, handle: library.nvmlDeviceGetPowerUsage(handle) / MILLI,
    "power_limit_watts": lambda library, handle: library.nvmlDeviceGetEnforcedPowerLimit(handle) / MILLI,
    "power_default_watts": lambda library, handle: library.nvmlDeviceGetPowerManagementDefaultLimit(handle) / MILLI,
    "clocks": _clocks,
    "busy": _busy,
}


CODE = "slow_inference"
_FULL = 0.95  # of the KV cache
# Fewer preemptions are normal after a busy hour.
_PREEMPTIONS, _PREEMPTED_SHARE = 10, 0.05
# Another process counts if it computes, or if it holds more memory than a service with a context alone. A desktop's
# process counts only if it computes, because the plan includes its memory.
_BUSY_PERCENT, _HOLDS_GIB = 10, 1.0
# If a token takes so many times longer than the GPU's memory bandwidth requires, another limit is in effect. Many
# requests at once take somewhat longer anyway, so a small factor proves nothing.
_TIMES_SLOWER = 4.0
_TOKENS = 1000  # fewer prove nothing


class Load(NamedTuple):
    """The metrics of an engine that are used here."""

    running: float
    waiting: float
    kv_use: float
    preemptions: float
    finished: float
    token_seconds: float | None  # the mean time of a token, None with too few tokens

    @classmethod
    def of(cls, figures: dict[str, float]) -> Load:
        """Return the load from the numbers of /metrics."""
        count = figures.get("inter_token_latency_seconds_count", 0.0)
        mean = figures["inter_token_latency_seconds_sum"] / count if count >= _TOKENS else None
        return cls(
            running=figures.get("num_requests_running", 0.0),
            waiting=figures.get("num_requests_waiting", 0.0),
            kv_use=figures.get("kv_cache_usage_perc", 0.0),
            preemptions=figures.get("num_preemptions_total", 0.0),
            finished=figures.get("request_success_total", 0.0),
            token_seconds=mean,
        )


def findings(agent: Agent, cards: list[Card], library: ModuleType | None = None) -> Iterator[Finding]:
    """Yield a finding for each reason that applies to an active agent; `cards` are its GPUs."""
    load = Load.of(client.read(agent["host"], agent["engine_port"]))
    yield from of_load(agent, load)
    for each in cards:
        if each.uuid:
            yield from of_card(agent, each, throttling(each.uuid, library))
    yield from of_choices(agent, load)


def of_load(agent: Agent, load: Load) -> Iterator[Finding]:
    """Yield the findings from the engine's metrics."""
    evidence = f"{load.running:.0f} requests run, {load.waiting:.0f} wait, KV cache {100 * load.kv_use:.0f} % full"
    roomier = (
        f"Send fewer requests at once, or lower max_model_len or set kv_cache_dtype: fp8, then run `{PLAN_AGAIN}`."
    )
    if load.waiting and load.kv_use >= _FULL:
        yield _finding(agent, "the KV cache is full, so requests wait or are restarted", evidence, roomier)
    elif load.waiting and load.running >= (most := agent.get("max_num_seqs") or float("inf")):
        remedy = f"Raise max_num_seqs of {agent['name']} in the roster and run `{PLAN_AGAIN}`, or send fewer requests."
        yield _finding(agent, f"max_num_seqs ({most:.0f}) requests run, and others wait", evidence, remedy)
    if load.preemptions >= max(_PREEMPTIONS, _PREEMPTED_SHARE * load.finished):
        evidence = f"{load.preemptions:.0f} preemptions, {load.finished:.0f} requests answered since it started"
        why = "the KV cache is too small, so requests are preempted and restarted"
        yield _finding(agent, why, evidence, roomier)


def of_card(agent: Agent, held: Card, seen: Throttling) -> Iterator[Finding]:
    """Yield a finding for each reason that throttles the GPU, and for each other process on it."""
    for reason in seen.reasons():
        heat = "" if seen.temperature_celsius is None else f" at {seen.temperature_celsius:.0f} C"
        power = "" if seen.power_watts is None else f", {seen.power_watts:.0f} W"
        evidence = f"GPU {held.number}{heat}{power}: clocks lowered, {reason}"
        remedy = "See `roundhouse gpu`. Improve its cooling, check its power supply, or raise its limit (`nvidia-smi "
        remedy += "--power-limit`)."
        yield _finding(agent, f"GPU {held.number} lowered its clocks", evidence, remedy)
    for other in held.holders:
        if other.unit == agent["unit"]:
            continue
        percent = (seen.busy or {}).get(other.pid, 0)
        if percent >= _BUSY_PERCENT or (not other.desktop and (other.gib or 0.0) >= _HOLDS_GIB):
            evidence = f"GPU {held.number}: {other}" + (f" and computes {percent} % of the time" if percent else "")
            stop = f"systemctl stop {other.unit}" if other.unit else f"kill {other.pid}"
            remedy = f"If it is not needed there, stop it: `{stop}`."
            remedy = "It belongs to the desktop: close its applications." if other.desktop else remedy
            yield _finding(agent, "another process uses the GPU", evidence, remedy)


def of_choices(agent: Agent, load: Load) -> Iterator[Finding]:
    """Yield a finding for a costly setting, if a token takes much longer than the GPU's memory bandwidth requires."""
    fit = agent.get("fit")
    ceiling = fit["decode_ceiling_tokens_per_second"] if fit else None
    if load.token_seconds is None or not ceiling or load.token_seconds * ceiling < _TIMES_SLOWER:
        return
    name = agent["name"]
    evidence = (
        f"a token takes {1000 * load.token_seconds:.0f} ms; the GPU's memory needs {1000 / ceiling:.0f} ms for one"
    )
    if agent["config"].get("enforce-eager"):
        remedy = f"Remove enforce_eager from {name} in the roster, then run `{PLAN_AGAIN}`. Its start takes longer."
        yield _finding(agent, "it runs without CUDA graphs (enforce_eager)", evidence, remedy)


def _finding(agent: Agent, why: str, evidence: str, remedy: str) -> Finding:
    text = f"Inference is slow because {why}."
    return Finding(CODE, agent["name"], text, evidence, remedy)
