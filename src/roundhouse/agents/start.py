"""Start an agent and follow it until it is ready: the phases from its engine's log, and the cause of a failure.

The unit runs wait_until_healthy() itself (ExecStartPost=), so it is ready once its engine is healthy and serves it.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ..doctor import diagnosis
from ..errors import RoundhouseError
from ..gateway import haproxy
from ..host import journal, systemd
from ..plan import measured
from ..state import history, serving, start_phases, started_config, switch_journal
from ..state.note import Note, OnNote, Report
from ..vllm.client import Engine

if TYPE_CHECKING:
    from roundhouse.schema.plan import Agent, Plan

POLL_SECONDS = 0.1


def wait_until_healthy(plan: Plan, agent: Agent, main_pid: int | None, report: Report) -> None:
    """Wait for /health until systemd's TimeoutStartSec ends this process.

    So `systemctl start` returns when the agent can be used. systemd does not end this process when the main process
    ends, so it watches `main_pid` (systemd's $MAINPID).
    """
    _record_config(agent, report)
    engine = Engine(agent["host"], agent["engine_port"])
    while not engine.healthy():
        if main_pid is not None and not Path(f"/proc/{main_pid}").exists():
            text = "The engine of {agent} ended before it was healthy."
            raise RoundhouseError("engine_ended_before_ready", text, agent=agent["name"])
        time.sleep(POLL_SECONDS)
    names = [entry["id"] for entry in engine.served()]
    if agent["name"] not in names:
        raise RoundhouseError(
            "wrong_agent_served",
            "On port {port}, {served} is active, not {agent}.",
            "Find the process with `ss --listening --tcp --processes` and stop it.",
            port=agent["engine_port"],
            served=", ".join(names),
            agent=agent["name"],
        )
    _note_restart(agent, report)
    _record(plan, agent, report)


def _record_config(agent: Agent, report: Report) -> None:
    """Record the configuration that the engine reads now, under systemd's ID of this start."""
    if invocation := os.environ.get("INVOCATION_ID"):
        try:
            started_config.record(agent, invocation)
        except OSError as error:  # no reason to end the start
            report(f"the configuration was not recorded, so its file's time decides on a restart: {error}")


def _note_restart(agent: Agent, report: Report) -> None:
    """Complete the history's entry of a crash, when systemd has started the unit again by itself."""
    try:
        if systemd.show(agent["unit"]).restarts:
            history.note_restart(agent["name"], time.time())
    except (OSError, RoundhouseError) as error:  # no reason to end a healthy engine
        report(f"the history does not show that {agent['name']} is ready again: {error}")


def _record(plan: Plan, agent: Agent, report: Report) -> None:
    """Record the active agent, except during a switch, which records it after the canary."""
    if switch_journal.path().exists():
        return
    try:
        serving.record(agent["name"], agent["conflicts"])
    except (OSError, RoundhouseError) as error:  # no reason to end a healthy engine
        report(f"the active agent was not recorded, so a reboot starts another agent: {error}")
    haproxy.publish_routes(plan, report)


# Progress is reported no more often, so that a log file stays short, and no less often, so that a person sees life.
_REPORT_SECONDS, _QUIET_SECONDS = 1.0, 9.5


def start(agent: Agent, report: Report, note: OnNote) -> float:
    """Start the agent and return the seconds until it is ready. Raises RoundhouseError with the engine's cause."""
    name, unit_name, begun = agent["name"], agent["unit"], time.monotonic()
    known = start_phases.known(agent)
    report(f"starting {name}" + (f", about {known.seconds:.0f} s" if known else ""))
    if systemd.show(unit_name).restarting:
        systemd.stop(unit_name)  # systemd waits to restart it: its present result is of the start before
    systemd.start(unit_name)
    restarts = systemd.show(unit_name).restarts
    with ExitStack() as stack:
        follower = _LogFollower(name, start_phases.Progress(known), report, note, stack)
        while True:
            unit = systemd.show(unit_name)
            follower.read(unit, time.monotonic() - begun)
            if unit.state == "ready":
                return _ready(agent, follower.progress, begun, report)
            if unit.restarting or unit.restarts > restarts or unit.state == "failed":
                lines = journal.log_of_this_start(unit_name)
                _learn(agent, lines, report)
                raise diagnosis.ended("start_failed", "{agent} did not start", name, unit, lines)
            if unit.state == "stopped" and not unit.pending:
                raise RoundhouseError(
                    "stopped_while_starting",
                    "Another process stopped {agent} while it started.",
                    "Switch to it again.",
                    agent=name,
                )
            time.sleep(POLL_SECONDS)


class _LogFollower:
    """Read the log of one start and report its phases."""

    def __init__(
        self, name: str, progress: start_phases.Progress, report: Report, note: OnNote, stack: ExitStack
    ) -> None:
        self.progress = progress
        self._name, self._report, self._note, self._stack = name, report, note, stack
        self._reported = 0.0
        self._invocation: str | None = None
        self._follower: journal.Follower | None = None

    def read(self, unit: systemd.Unit, seconds: float) -> None:
        """Read the new lines of the log. A start has its invocation once systemd has begun it."""
        if unit.state == "starting" and unit.invocation and unit.invocation != self._invocation:
            self._invocation = unit.invocation
            self._follower = self._stack.enter_context(journal.following(unit.invocation))
        for line in self._follower.lines() if self._follower else []:
            if self.progress.feed(line, seconds):
                self._tell(seconds, _REPORT_SECONDS)
        self._tell(seconds, _QUIET_SECONDS)
        self._note(Note(self.progress.text(seconds), step=self.progress.phase or "", percent=self.progress.percent))

    def _tell(self, seconds: float, every_seconds: float) -> None:
        if seconds >= self._reported + every_seconds:
            self._reported = seconds
            self._report(f"{self._name}: {self.progress.text(seconds)}")


def _ready(agent: Agent, progress: start_phases.Progress, begun: float, report: Report) -> float:
    seconds = round(time.monotonic() - begun, 1)
    report(f"{agent['name']} is healthy after {seconds} s")
    _learn(agent, journal.log_of_this_start(agent["unit"]), report)
    try:
        start_phases.keep(agent, progress, seconds)
    except OSError as error:
        report(f"the duration of the start was not recorded: {error.strerror}")
    return seconds


def _learn(agent: Agent, lines: list[str], report: Report) -> None:
    """Record the memory that the engine reported, for the next plan. A failure of this does not fail a switch."""
    try:
        measured.learn(agent, lines)
    except OSError as error:
        report(f"the engine's memory use was not recorded: {error}")
