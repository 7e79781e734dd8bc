"""Why inference is slow, as far as a host can tell: the KV cache, the queue, the card, and what the roster chose.

NVML tells of a card the clocks that it lowered and why, its power limit, and the other processes that compute on it.
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

# nvml.h, nvmlClocksEventReasons: what lowers the clocks of a card that has work. A card that is idle (1), or set so by
# its administrator (2), is not throttled; by a power cap (4) it is when that is below the maker's.
POWER_CAP = 0x4
_THROTTLED_BY = {
    0x8: "the hardware slows it down (heat or power supply)",
    0x20: "it is too hot",
    0x40: "the hardware slows it down because it is too hot",
    0x80: "its power supply asks for less",
}
_MICRO = 1_000_000
# How far back NVML's samples of who computes are looked at.
_SAMPLES_SECONDS = 10


class Throttling(NamedTuple):
    """One card's clocks, heat and power; None for what it does not tell. `busy`: percent of its time by pid."""

    temperature_celsius: float | None
    power_watts: float | None
    power_limit_watts: float | None
    power_default_watts: float | None
    clocks: int | None
    busy: dict[int, int] | None

    def reasons(self) -> list[str]:
        """Return a phrase for each thing that lowers its clocks now."""
        found = [reason for bit, reason in _THROTTLED_BY.items() if (self.clocks or 0) & bit]
        limit, default = self.power_limit_watts, self.power_default_watts
        if (self.clocks or 0) & POWER_CAP and limit is not None and default is not None and limit < default:
            found.append(f"its power limit is {limit:.0f} W of the maker's {default:.0f} W")
        return found


def throttling(index: int, library: ModuleType | None = None) -> Throttling:
    """Return the throttling of a card that NVML knows."""
    return Throttling(**gpu_usage.ask(index, _ASKED, library))


def _clocks(library: ModuleType, handle: object) -> int:
    try:
        return int(library.nvmlDeviceGetCurrentClocksEventReasons(handle))
    except library.NVMLError:  # its name before driver 535
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
# Fewer preemptions than these are what a busy hour leaves behind.
_PREEMPTIONS, _PREEMPTED_SHARE = 10, 0.05
# Another process counts that computes, or that holds more than a desktop does.
_BUSY_PERCENT, _HOLDS_GIB = 10, 1.0
# A token takes this much longer than the card's memory would let it: something else decides. Many requests at once take
# longer by themselves, so little more is no sign.
_TIMES_SLOWER = 4.0
_TOKENS = 1000  # fewer tell nothing


class Load(NamedTuple):
    """The numbers of an engine that matter here."""

    running: float
    waiting: float
    kv_use: float
    preemptions: float
    finished: float
    token_seconds: float | None  # the mean time of a token, None while there are too few

    @classmethod
    def of(cls, told: dict[str, float]) -> Load:
        """Return it from /metrics."""
        count = told.get("inter_token_latency_seconds_count", 0.0)
        mean = told["inter_token_latency_seconds_sum"] / count if count >= _TOKENS else None
        return cls(
            running=told.get("num_requests_running", 0.0),
            waiting=told.get("num_requests_waiting", 0.0),
            kv_use=told.get("kv_cache_usage_perc", 0.0),
            preemptions=told.get("num_preemptions_total", 0.0),
            finished=told.get("request_success_total", 0.0),
            token_seconds=mean,
        )


def findings(agent: Agent, cards: list[Card], library: ModuleType | None = None) -> Iterator[Finding]:
    """Yield a finding for each reason that is seen, of an agent that serves; `cards` are its own."""
    load = Load.of(client.read(agent["host"], agent["engine_port"]))
    yield from of_load(agent, load)
    for each in cards:
        yield from of_card(agent, each, throttling(each.number, library))
    yield from of_choices(agent, load)


def of_load(agent: Agent, load: Load) -> Iterator[Finding]:
    """Yield what the engine's own numbers tell."""
    told = f"{load.running:.0f} requests run, {load.waiting:.0f} wait, KV cache {100 * load.kv_use:.0f} % full"
    roomier = f"Send fewer at once; or lower max_model_len or set kv_cache_dtype: fp8, then `{PLAN_AGAIN}`."
    if load.waiting and load.kv_use >= _FULL:
        yield _finding(agent, "the KV cache is full, so requests wait or are begun again", told, roomier)
    elif load.waiting and load.running >= (most := agent.get("max_num_seqs") or float("inf")):
        remedy = f"Raise max_num_seqs of {agent['name']} in the roster, then `{PLAN_AGAIN}`, or send fewer at once."
        yield _finding(agent, f"as many requests run as may ({most:.0f}), and others wait", told, remedy)
    if load.preemptions >= max(_PREEMPTIONS, _PREEMPTED_SHARE * load.finished):
        told = f"{load.preemptions:.0f} preemptions, {load.finished:.0f} requests answered since it started"
        why = "requests lose their place in a KV cache that is too small, and are begun again"
        yield _finding(agent, why, told, roomier)


def of_card(agent: Agent, held: Card, seen: Throttling) -> Iterator[Finding]:
    """Yield what throttles the card, and which other processes use it."""
    for reason in seen.reasons():
        heat = "" if seen.temperature_celsius is None else f" at {seen.temperature_celsius:.0f} C"
        power = "" if seen.power_watts is None else f", {seen.power_watts:.0f} W"
        evidence = f"GPU {held.number}{heat}{power}: clocks lowered, {reason}"
        remedy = "See `roundhouse gpu`; give it air, check its power, or raise its limit (`nvidia-smi --power-limit`)."
        yield _finding(agent, f"GPU {held.number} has lowered its clocks", evidence, remedy)
    for other in held.holders:
        if other.unit == agent["unit"]:
            continue
        percent = (seen.busy or {}).get(other.pid, 0)
        if percent >= _BUSY_PERCENT or (other.gib or 0.0) >= _HOLDS_GIB:
            evidence = f"GPU {held.number}: {other}" + (f" and computes {percent} % of the time" if percent else "")
            stop = f"systemctl stop {other.unit}" if other.unit else f"kill {other.pid}"
            remedy = f"Stop what does not belong there: `{stop}`."
            yield _finding(agent, "another process uses the card too", evidence, remedy)


def of_choices(agent: Agent, load: Load) -> Iterator[Finding]:
    """Yield what the configuration costs, where a token takes much longer than the card's memory would let it."""
    fit = agent.get("fit")
    ceiling = fit["decode_ceiling_tokens_per_second"] if fit else None
    if load.token_seconds is None or not ceiling or load.token_seconds * ceiling < _TIMES_SLOWER:
        return
    name = agent["name"]
    told = f"a token takes {1000 * load.token_seconds:.0f} ms; the card's memory needs {1000 / ceiling:.0f} ms for one"
    if agent["config"].get("enforce-eager"):
        remedy = f"Take enforce_eager away from {name} in the roster, then `{PLAN_AGAIN}`; its start takes longer then."
        yield _finding(agent, "it runs without CUDA graphs (enforce_eager)", told, remedy)


def _finding(agent: Agent, why: str, evidence: str, remedy: str) -> Finding:
    text = f"Inference is slow because {why}."
    return Finding(CODE, agent["name"], text, evidence, remedy)
