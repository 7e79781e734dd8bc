"""Drain agents: ask them to stop, let their requests finish, and kill an engine that does not stop in time.

An engine that is asked to stop accepts no new requests (vLLM answers them with 500). Running requests may finish within
its shutdown-timeout. A longer drain waits first, while new requests still arrive, and asks the engine later.

The gateway ends the streams that are still open shortly before the kill, so that their clients get the reason. A killed
engine alone would leave them with a broken connection.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..gateway import haproxy
from ..host import systemd
from ..state.note import Note, OnNote, Report
from ..vllm.client import Engine

if TYPE_CHECKING:
    from roundhouse.schema.plan import Agent

# The time for the requests of an agent to finish; --drain of a switch overrides it.
DEFAULT_SECONDS = 30.0
POLL_SECONDS = 0.1
# An idle vLLM ends 5 to 9 s after it was asked (vLLM 0.32 on a busy CPU). An engine without requests that takes longer
# than this hangs. stop_grace_seconds in the plan overrides it.
GRACE_SECONDS = 15.0
# The gateway ends a stream with its next token, so this is time for a slow one.
TELL_SECONDS = 1.0
UP = ("ready", "starting", "draining")  # states in which an agent holds its GPU, or is about to free it


def drain(agents: list[Agent], drain_seconds: float, report: Report, note: OnNote, cause: str = "a rollback") -> int:
    """Stop the agents and return the number of cut requests. Every engine has ended when this returns.

    `cause` completes the clients' error `dev was stopped by ...`, as `a switch to po`.
    """
    begun = time.monotonic()
    stopping = [_Stopping(agent, drain_seconds, report, cause) for agent in agents]
    _wait_before_stop(agents, drain_seconds, note)
    for one in stopping:
        one.ask()
    asked = time.monotonic()
    remaining = stopping
    while remaining:
        remaining = [one for one in remaining if not one.is_gone(time.monotonic() - asked)]
        for one in remaining:
            one.running = _running(one.agent, one.running)
        note(Note(", ".join(f"{one.agent['name']}: {_count(one.running or 0)}" for one in remaining)))
        for one in remaining:
            one.cut_if_late(time.monotonic() - begun)
        time.sleep(POLL_SECONDS if remaining else 0)
    return sum(one.cut for one in stopping)


class _Stopping:
    """One agent that stops."""

    def __init__(self, agent: Agent, drain_seconds: float, report: Report, cause: str) -> None:
        self.agent, self.running = agent, _running(agent, None)
        self.cut = 0
        self._drain_seconds, self._report, self._cause = drain_seconds, report, cause
        self._killed = self._asked = False
        self._told: float | None = None  # when the gateway began to end the streams; seconds of the drain
        if systemd.state(agent["unit"]) in UP:
            report(f"stopping {agent['name']} ({_describe(self.running, drain_seconds)})")
        else:  # its start failed
            report(f"cleaning up {agent['name']}")

    def ask(self) -> None:
        """Ask its unit to stop, if it is up."""
        if systemd.state(self.agent["unit"]) in UP:
            self._asked = True
            systemd.stop(self.agent["unit"], wait=False)

    def is_gone(self, seconds: float) -> bool:
        """Return whether its unit has stopped, `seconds` after it was asked to; count the requests that it cut."""
        state = systemd.state(self.agent["unit"])
        if state in UP:
            return False
        count = self.running or 0
        if self._told is not None and (ended := haproxy.ended_streams(self.agent["name"])):
            self._report(f"{ended} streams of {self.agent['name']} were ended with the reason")
            self.cut += ended
        if self._killed or (self._asked and state == "failed"):
            # It was asked to stop. systemd calls a unit failed that is killed, or stopped while it starts.
            systemd.reset_failed(self.agent["unit"])
        if not self._killed and count and (seconds >= _own_seconds(self.agent) or state == "failed"):
            self._report(f"{self.agent['name']} ended and cut {count} requests")
            self.cut += count
        return True

    def cut_if_late(self, seconds: float) -> None:
        """End its streams, then kill it, after the drain time, or after the grace time without requests.

        `seconds` is the time since the drain began.
        """
        count = self.running or 0
        limit = self._drain_seconds
        if count and self._told is None and seconds >= limit - TELL_SECONDS:
            self._told = seconds if haproxy.cut_streams(self.agent["name"], self._cause) else float("-inf")
        if self._told is not None:
            limit = max(limit, self._told + TELL_SECONDS)
        elif not count:
            limit += self.agent.get("stop_grace_seconds", GRACE_SECONDS)
        if self._killed or seconds < limit:
            return
        self._report(f"{self.agent['name']} did not stop in {seconds:.0f} s: killing it, {count} requests are cut")
        self._killed = True
        self.cut += count
        systemd.kill(self.agent["unit"])


def _describe(count: int | None, drain_seconds: float) -> str:
    if count is None:
        return "the number of its requests is unknown"
    return f"{_count(count)}, cut after {drain_seconds:g} s" if count else _count(count)


def _count(count: int) -> str:
    return f"{count or 'no'} running request{'s'[: count != 1]}"


def _own_seconds(agent: Agent) -> float:
    """Return the seconds for which the engine lets requests run after it was asked to stop; vLLM's default is 0."""
    return float(agent["config"].get("shutdown-timeout", 0))


def _wait_before_stop(agents: list[Agent], drain_seconds: float, note: OnNote) -> None:
    own = min((_own_seconds(agent) for agent in agents), default=0)
    end = time.monotonic() + drain_seconds - own
    while time.monotonic() < end and (count := sum(_running(agent, 0) or 0 for agent in agents)):
        note(Note(_count(count)))
        time.sleep(POLL_SECONDS)


def _running(agent: Agent, before: int | None) -> int | None:
    """Return the number of requests that the engine has.

    An engine that listens and does not answer hangs, and has as many as `before`. One that does not listen starts or
    ends, and has none.
    """
    engine = Engine(agent["host"], agent["engine_port"])
    load = engine.load(timeout_seconds=1.0)
    if load is None:
        return before if engine.listens() else 0
    return load.running + load.waiting
