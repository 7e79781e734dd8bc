"""Whether an engine is alive, asked in a way that costs a busy one nothing.

vLLM's /health and /metrics come from its API server and answer on when the core behind them has stopped. But the core
reports after each of its steps, and a long prompt is read in many steps, each of which fills more of the KV cache (vLLM
0.32, v1/core/sched/scheduler.py, make_stats). So a core with work lives when its numbers move; only one without work is
asked for one token.
"""

from __future__ import annotations

from typing import NamedTuple

from . import metrics
from .engine import Engine
from .errors import RoundhouseError
from .plan import Agent

# What moves with the core's steps. vLLM's own names.
_MOVING = (
    *("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "iteration_tokens_total_count"),
    *("prompt_tokens_total", "generation_tokens_total", "request_success_total", "num_preemptions_total"),
)


class Pulse(NamedTuple):
    """What an engine's core reported last. `busy`: it had requests then."""

    busy: bool
    numbers: tuple[float | None, ...]


def take(agent: Agent, before: Pulse | None, limit_seconds: float) -> tuple[bool, Pulse | None]:
    """Return whether the engine is alive, and its pulse, which is `before` at the next call.

    Each of its answers may take `limit_seconds`. The pulse is None when the API server gave none.
    """
    now = _read(agent, limit_seconds)
    if now is None:
        return False, None
    if now.busy:
        return before is None or now != before, now
    if _answers(agent, limit_seconds):
        return True, now
    after = _read(agent, limit_seconds)  # others may have come before it, and take their time
    return after is not None and after != now, after


def _read(agent: Agent, limit_seconds: float) -> Pulse | None:
    told = metrics.read(agent["host"], agent["engine_port"], limit_seconds)
    if not told:
        return None
    numbers = tuple(told.get(name) for name in _MOVING)
    return Pulse(bool((numbers[0] or 0) + (numbers[1] or 0)), numbers)


def _answers(agent: Agent, limit_seconds: float) -> bool:
    body = {"model": agent["name"], "prompt": "1", "max_tokens": 1, "temperature": 0}
    try:
        Engine(agent["host"], agent["engine_port"]).ask("/v1/completions", body, limit_seconds)
    except RoundhouseError:
        return False
    return True
