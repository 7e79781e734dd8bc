"""Whether an engine is alive, asked in a way that costs a busy one nothing.

vLLM's /health and /metrics come from its API server and answer on when the core behind them has stopped. But the core
reports after each of its steps, and a long prompt is read in many steps, each of which fills more of the KV cache (vLLM
0.32, v1/core/sched/scheduler.py, make_stats). So a core with work lives when its numbers move; only one without work is
asked for one token.

The guard of one agent: an engine that hangs is ended, and its unit starts it again.

systemd runs it beside a ready agent (roundhouse-guard@.service). It ends nobody during a switch: that drains, and ends
what does not go, itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from ..errors import RoundhouseError
from ..host import journal, systemd
from ..plan.deployed import Agent, Plan, find
from ..state import serving, switch_journal
from ..vllm import client
from ..vllm.client import Engine

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
    told = client.read(agent["host"], agent["engine_port"], limit_seconds)
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


# The users' wish: every 30 s, 10 s for an answer, 3 failures in a row. The plan may say otherwise (guard_...).
EVERY_SECONDS, LIMIT_SECONDS, FAILURES = 30.0, 10.0, 3
# What it says of an end, and systemd's word of the same, may be so far apart.
_SLACK_SECONDS = 2.0
_LINES = 100

Report = Callable[[str], None]


class Guard:
    """Judges one agent, round by round."""

    def __init__(self, agent: Agent, report: Report) -> None:
        self.agent = agent
        self.limit_seconds = float(agent.get("guard_limit_seconds", LIMIT_SECONDS))
        self._report = report
        self._invocation: str | None = None
        self._failures = 0
        self._pulse: Pulse | None = None

    def round(self) -> bool:
        """Look once, end the engine when it was the last of several failures; return whether there is more to guard."""
        unit = systemd.show(self.agent["unit"])
        if unit.state in ("failed", "stopped") and not unit.pending:
            return False
        self._judge(unit)
        return True

    def _judge(self, unit: systemd.Unit) -> None:
        if unit.state != "ready" or serving.is_switching():
            self._forget(None)
            return
        if unit.invocation != self._invocation:
            self._forget(unit.invocation)
        alive, self._pulse = take(self.agent, self._pulse, self.limit_seconds)
        if alive:
            self._failures = 0
            return
        self._failures += 1
        name = self.agent["name"]
        self._report(f"{name} gave no sign of life within {self.limit_seconds:g} s ({self._failures} of {FAILURES})")
        if self._failures >= FAILURES:
            self._end()

    def _forget(self, invocation: str | None) -> None:
        self._invocation, self._failures, self._pulse = invocation, 0, None

    def _end(self) -> None:
        """End the engine, unless it ended, was asked to, or a switch came, while it was looked at."""
        try:
            with serving.switching(switch_journal.told):
                unit = systemd.show(self.agent["unit"])
                if (unit.state, unit.invocation, unit.pending) == ("ready", self._invocation, False):
                    self._report(f"{self.agent['name']} hangs: ending its engine, which its unit starts again")
                    systemd.kill(self.agent["unit"])
        except RoundhouseError as error:
            self._report(error.message)
        self._forget(None)


def said(agent: Agent, began: float, ended: float | None) -> list[str]:
    """Return what the agent's guard said between two times; nothing where it ended nobody."""
    unit = f"_SYSTEMD_UNIT=roundhouse-guard@{agent['name']}.service"
    until = (time.time() if ended is None else ended) + _SLACK_SECONDS
    return [each.text for each in journal.entries(unit, lines=_LINES) if began <= each.at <= until]


def guard(plan: Plan, name: str, report: Report) -> None:
    """Look every so many seconds until the agent is gone; systemd may end it before."""
    agent = find(plan, name)
    every_seconds = float(agent.get("guard_every_seconds", EVERY_SECONDS))
    one = Guard(agent, report)
    due = time.monotonic() + every_seconds
    time.sleep(every_seconds)
    while one.round():
        time.sleep(max(0.0, due - time.monotonic()))
        due = time.monotonic() + every_seconds
