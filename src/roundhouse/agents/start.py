"""When an agent's unit is ready: its engine is healthy and serves it. Run by systemd as the unit's ExecStartPost.

An agent's start, watched until it is ready: the phases from its engine's log, and the cause when it fails.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from ..doctor.diagnosis import cause
from ..errors import RoundhouseError
from ..gateway import haproxy
from ..host import journal, systemd
from ..plan import measured
from ..plan.deployed import Agent, Plan
from ..state import serving, start_phases, switch_journal
from ..vllm.client import Engine

POLL_SECONDS = 0.1


def wait_until_healthy(plan: Plan, agent: Agent, main_pid: int | None, report: Callable[[str], None]) -> None:
    """Wait for /health without a limit of its own: systemd's TimeoutStartSec ends it.

    So `systemctl start` returns when the agent can be used. systemd does not end this when the main process dies, so
    `main_pid` (its $MAINPID) is watched here.
    """
    engine = Engine(agent["host"], agent["engine_port"])
    while not engine.healthy():
        if main_pid is not None and not Path(f"/proc/{main_pid}").exists():
            raise RoundhouseError("ready", f"the engine of {agent['name']} ended before it was healthy.")
        time.sleep(POLL_SECONDS)
    names = [entry["id"] for entry in engine.served()]
    if agent["name"] not in names:
        raise RoundhouseError("ready", f"port {agent['engine_port']} serves {', '.join(names)}, not {agent['name']}.")
    _record(plan, agent, report)


def _record(plan: Plan, agent: Agent, report: Callable[[str], None]) -> None:
    """Note who serves, when no switch is about: a switch notes it itself, once the agent has answered its canary."""
    if switch_journal.path().exists():
        return
    try:
        serving.record(agent["name"], agent["conflicts"])
    except (OSError, RoundhouseError) as error:  # no reason to end an engine that serves
        report(f"who serves was not kept, so a reboot brings back another: {error}")
    haproxy.follow(plan, report)


# Progress is reported no more often, so that a log file stays short.
_SAY_SECONDS = 1.0

Say = Callable[[str], None]


def start(agent: Agent, report: Say, note: Say) -> float:
    """Start the agent and return the seconds until it is ready. Raises RoundhouseError with the engine's cause."""
    name, unit_name, begun = agent["name"], agent["unit"], time.monotonic()
    known = start_phases.known(agent)
    report(f"starting {name}" + (f", about {known.seconds:.0f} s" if known else ""))
    if systemd.show(unit_name).restarting:
        systemd.stop(unit_name)  # it waits to be tried again: what it says now is of the try before
    systemd.start(unit_name)
    restarts = systemd.show(unit_name).restarts
    with ExitStack() as stack:
        watch = _Watch(agent["name"], start_phases.Progress(known), report, note, stack)
        while True:
            unit = systemd.show(unit_name)
            watch.look(unit, time.monotonic() - begun)
            if unit.state == "ready":
                return _ready(agent, watch, begun, report)
            if unit.restarting or unit.restarts > restarts or unit.state == "failed":
                lines = journal.log_of_this_start(unit_name)
                _learn(agent, lines, report)
                raise RoundhouseError("start", f"{name} did not start: {cause(name, unit, lines)}")
            if unit.state == "stopped" and not unit.pending:
                raise RoundhouseError("start", f"{name} was stopped by somebody else while it started.")
            time.sleep(POLL_SECONDS)


class _Watch:
    """Reads the log of the start that systemd made, and says what is new in it."""

    def __init__(self, name: str, progress: start_phases.Progress, report: Say, note: Say, stack: ExitStack) -> None:
        self.progress = progress
        self._name, self._report, self._note, self._stack = name, report, note, stack
        self._said = 0.0
        self._invocation: str | None = None
        self._follower: journal.Follower | None = None

    def look(self, unit: systemd.Unit, seconds: float) -> None:
        """Take what the log says by now. A start has its name in the journal once systemd has begun it."""
        if unit.state == "starting" and unit.invocation and unit.invocation != self._invocation:
            self._invocation = unit.invocation
            self._follower = self._stack.enter_context(journal.following(unit.invocation))
        for line in self._follower.lines() if self._follower else []:
            if self.progress.feed(line, seconds) and seconds >= self._said + _SAY_SECONDS:
                self._said = seconds
                self._report(f"{self._name}: {self.progress.text(seconds)}")
        self._note(self.progress.text(seconds))


def _ready(agent: Agent, watch: _Watch, begun: float, report: Say) -> float:
    seconds = round(time.monotonic() - begun, 1)
    report(f"{agent['name']} is healthy after {seconds} s")
    _learn(agent, journal.log_of_this_start(agent["unit"]), report)
    try:
        start_phases.keep(agent, watch.progress, seconds)
    except OSError as error:
        report(f"how long the start took was not kept: {error.strerror}")
    return seconds


def _learn(agent: Agent, lines: list[str], report: Say) -> None:
    """Keep what the engine stated of its memory, for the next plan. No reason to fail a switch."""
    try:
        measured.learn(agent, lines)
    except OSError as error:
        report(f"what the engine stated of its memory was not kept: {error}")
