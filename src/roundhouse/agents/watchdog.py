"""Run the watchdog of one agent: it kills an engine that hangs, and the unit starts the engine again.

systemd runs it beside a ready agent (roundhouse-watchdog@.service). It kills no engine during a switch, which drains
and kills engines itself.

vLLM's /health and /metrics come from its API server, and still answer when the core behind it has stopped. The core
reports after each step. It reads a long prompt in many steps, each of which fills more of the KV cache (vLLM 0.32,
v1/core/sched/scheduler.py, make_stats). So a core with requests is alive if its counters change. A core without
requests is asked for one token.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ..doctor.cause import as_line, with_code
from ..errors import RoundhouseError
from ..host import journal, systemd
from ..plan.deployed import find
from ..state import serving, switch_journal
from ..state.note import Report
from ..vllm import client
from ..vllm.client import Engine

if TYPE_CHECKING:
    from roundhouse.schema.plan import Agent, Plan


# Every 30 s, 10 s for an answer, 3 failures in a row; watchdog_... in the plan overrides the seconds.
EVERY_SECONDS, LIMIT_SECONDS, FAILURES = 30.0, 10.0, 3
HANGS = "engine_hangs"  # the code of its line in the log, which doctor matches

# The largest difference in time between the watchdog's line and systemd's line about the same end.
_SLACK_SECONDS = 2.0
_LINES = 100
# Metrics that change with the core's steps, by vLLM's names.
_MOVING = (
    "num_requests_running",
    "num_requests_waiting",
    "kv_cache_usage_perc",
    "iteration_tokens_total_count",
    "prompt_tokens_total",
    "generation_tokens_total",
    "request_success_total",
    "num_preemptions_total",
)


class Counters(NamedTuple):
    """The last report of an engine's core. `busy`: it had requests then."""

    busy: bool
    numbers: tuple[float | None, ...]


def is_alive(agent: Agent, before: Counters | None, limit_seconds: float) -> tuple[bool, Counters | None]:
    """Return whether the engine is alive, and its counters, which are `before` of the next call.

    Each answer may take `limit_seconds`. The counters are None if the API server returned none.
    """
    now = _read(agent, limit_seconds)
    if now is None:
        return False, None
    if now.busy:
        return before is None or now != before, now
    if _answers(agent, limit_seconds):
        return True, now
    after = _read(agent, limit_seconds)  # other requests may have come first and take long
    return after is not None and after != now, after


def _read(agent: Agent, limit_seconds: float) -> Counters | None:
    found = client.read(agent["host"], agent["engine_port"], limit_seconds)
    if not found:
        return None
    busy = found.get("num_requests_running", 0) + found.get("num_requests_waiting", 0) > 0
    return Counters(busy, tuple(found.get(name) for name in _MOVING))


def _answers(agent: Agent, limit_seconds: float) -> bool:
    body = {"model": agent["name"], "prompt": "1", "max_tokens": 1, "temperature": 0}
    try:
        Engine(agent["host"], agent["engine_port"]).ask("/v1/completions", body, limit_seconds)
    except RoundhouseError:
        return False
    return True


class Watchdog:
    """Check one agent, round by round."""

    def __init__(self, agent: Agent, report: Report, recover: Callable[[], None]) -> None:
        self.agent, self._recover = agent, recover
        self.limit_seconds = float(agent.get("watchdog_limit_seconds", LIMIT_SECONDS))
        self._report = report
        self._invocation: str | None = None
        self._failures = 0
        self._counters: Counters | None = None

    def round(self) -> bool:
        """Check once, kill the engine after the last of several failures, and return whether the agent still runs."""
        unit = systemd.show(self.agent["unit"])
        if unit.state in ("failed", "stopped") and not unit.pending:
            return False
        self._judge(unit)
        return True

    def _judge(self, unit: systemd.Unit) -> None:
        if unit.state != "ready" or serving.is_switching():
            self._forget(None)
            return
        self._recover()
        if unit.invocation != self._invocation:
            self._forget(unit.invocation)
        alive, self._counters = is_alive(self.agent, self._counters, self.limit_seconds)
        if alive:
            self._failures = 0
            return
        self._failures += 1
        name = self.agent["name"]
        self._report(f"{name} did not answer within {self.limit_seconds:g} s ({self._failures} of {FAILURES})")
        if self._failures >= FAILURES:
            self._kill()

    def _forget(self, invocation: str | None) -> None:
        self._invocation, self._failures, self._counters = invocation, 0, None

    def _kill(self) -> None:
        """Kill the engine, unless it ended, was asked to stop, or a switch began in the meantime."""
        try:
            with serving.switching(switch_journal.describe):
                unit = systemd.show(self.agent["unit"])
                if (unit.state, unit.invocation, unit.pending) == ("ready", self._invocation, False):
                    name = self.agent["name"]
                    self._report(with_code(f"{name} hangs: killing its engine, which its unit restarts", HANGS))
                    systemd.kill(self.agent["unit"])
        except RoundhouseError as error:
            self._report(as_line(error))
        self._forget(None)


def log_between(agent: Agent, began: float, ended: float | None) -> list[str]:
    """Return the lines of the agent's watchdog between two times."""
    unit = f"_SYSTEMD_UNIT=roundhouse-watchdog@{agent['name']}.service"
    until = (time.time() if ended is None else ended) + _SLACK_SECONDS
    return [each.text for each in journal.entries(unit, lines=_LINES) if began <= each.at <= until]


def run(plan: Plan, name: str, report: Report, recover: Callable[[], None]) -> None:
    """Check at an interval until the agent has stopped or systemd ends this process.

    Each round of a ready agent calls `recover`, which completes what a killed command left.
    """
    agent = find(plan, name)
    every_seconds = float(agent.get("watchdog_every_seconds", EVERY_SECONDS))
    watchdog = Watchdog(agent, report, recover)
    due = time.monotonic() + every_seconds
    time.sleep(every_seconds)
    while watchdog.round():
        time.sleep(max(0.0, due - time.monotonic()))
        due = time.monotonic() + every_seconds
