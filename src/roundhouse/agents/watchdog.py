"""The watchdog of one agent: an engine that hangs is killed, and its unit starts it again.

systemd runs it beside a ready agent (roundhouse-watchdog@.service). It kills nothing during a switch, which drains and
kills by itself.

vLLM's /health and /metrics come from its API server and answer on when the core behind them has stopped. But the core
reports after each of its steps, and a long prompt is read in many steps, each of which fills more of the KV cache (vLLM
0.32, v1/core/sched/scheduler.py, make_stats). So a core with work is alive when its counters move; only one without
work is asked for one token.
"""

from __future__ import annotations

import time
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


# Every 30 s, 10 s for an answer, 3 failures in a row. The plan may say otherwise (watchdog_...).
EVERY_SECONDS, LIMIT_SECONDS, FAILURES = 30.0, 10.0, 3
HANGS = "engine_hangs"  # the code of its line in the log, by which doctor knows it
# The watchdog's line, and systemd's of the same end, may be so far apart.
_SLACK_SECONDS = 2.0
_LINES = 100
# What moves with the core's steps: vLLM's own names.
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
    """What an engine's core reported last. `busy`: it had requests then."""

    busy: bool
    numbers: tuple[float | None, ...]


def is_alive(agent: Agent, before: Counters | None, limit_seconds: float) -> tuple[bool, Counters | None]:
    """Return whether the engine is alive, and its counters, which are `before` at the next call.

    Each of its answers may take `limit_seconds`. The counters are None when the API server gave none.
    """
    now = _read(agent, limit_seconds)
    if now is None:
        return False, None
    if now.busy:
        return before is None or now != before, now
    if _answers(agent, limit_seconds):
        return True, now
    after = _read(agent, limit_seconds)  # other requests may have come first, and take their time
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
    """Judges one agent, round by round."""

    def __init__(self, agent: Agent, report: Report) -> None:
        self.agent = agent
        self.limit_seconds = float(agent.get("watchdog_limit_seconds", LIMIT_SECONDS))
        self._report = report
        self._invocation: str | None = None
        self._failures = 0
        self._counters: Counters | None = None

    def round(self) -> bool:
        """Check once, and kill the engine at the last of several failures; return whether the agent still runs."""
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
        """Kill the engine, unless it ended, was asked to stop, or a switch began meanwhile."""
        try:
            with serving.switching(switch_journal.describe):
                unit = systemd.show(self.agent["unit"])
                if (unit.state, unit.invocation, unit.pending) == ("ready", self._invocation, False):
                    name = self.agent["name"]
                    self._report(with_code(f"{name} hangs: ending its engine, which its unit starts again", HANGS))
                    systemd.kill(self.agent["unit"])
        except RoundhouseError as error:
            self._report(as_line(error))
        self._forget(None)


def log_between(agent: Agent, began: float, ended: float | None) -> list[str]:
    """Return the lines of the agent's watchdog between two times."""
    unit = f"_SYSTEMD_UNIT=roundhouse-watchdog@{agent['name']}.service"
    until = (time.time() if ended is None else ended) + _SLACK_SECONDS
    return [each.text for each in journal.entries(unit, lines=_LINES) if began <= each.at <= until]


def run(plan: Plan, name: str, report: Report) -> None:
    """Check every so many seconds until the agent is gone; systemd may end it before."""
    agent = find(plan, name)
    every_seconds = float(agent.get("watchdog_every_seconds", EVERY_SECONDS))
    watchdog = Watchdog(agent, report)
    due = time.monotonic() + every_seconds
    time.sleep(every_seconds)
    while watchdog.round():
        time.sleep(max(0.0, due - time.monotonic()))
        due = time.monotonic() + every_seconds
