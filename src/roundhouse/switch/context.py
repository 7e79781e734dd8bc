"""One switch while it runs: who is to serve, who leaves, who comes back, what each phase took, what is kept of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from ..agents.drain import UP
from ..errors import RoundhouseError
from ..host import systemd
from ..plan.deployed import Agent, Plan, find
from ..state import history, switch_journal, switch_metrics

Report = Callable[[str], None]


class Turn(NamedTuple):
    """One switch. `back` are the agents that come back when it fails; it is kept in the journal while it runs."""

    plan: Plan
    agent: Agent
    leaving: list[Agent]
    back: list[Agent]
    drain_seconds: float
    report: Report
    log: switch_journal.Journal
    stages: dict[str, float]  # seconds of each phase that ended
    cuts: list[int]  # requests that were cut, an entry for each time that agents left


class Work(Protocol):
    """What goes forward in phases, and may have to go back: a switch, a deployment."""

    @property
    def drain_seconds(self) -> float:
        """Return how long requests may take to end."""

    @property
    def report(self) -> Report:
        """Return what tells a person."""

    @property
    def log(self) -> switch_journal.Journal:
        """Return its entry on disk."""

    @property
    def stages(self) -> dict[str, float]:
        """Return the seconds of each phase that ended."""


def make(plan: Plan, agent: Agent, left: switch_journal.Left | None, drain_seconds: float, report: Report) -> Turn:
    """Return the switch to an agent; `left` is what one that was killed left."""
    rivals = [find(plan, name) for name in agent["conflicts"]]
    leaving = [other for other in rivals if systemd.state(other["unit"]) in UP]
    committed = [other["name"] for other in leaving]
    if left:
        # Who is up may be the one that was never committed; who is to come back is who served when it all began.
        committed = [name for name in committed if name != left.to] + left.previous
    back = [other for other in rivals if other["name"] in committed]
    log = switch_journal.Journal(agent["name"], [other["name"] for other in back])
    return Turn(plan, agent, leaving, back, drain_seconds, report, log, {}, [])


def timed(turn: Work, phase: str, work: Callable[[], Any]) -> Any:
    """Do the work of a phase, and keep its seconds."""
    turn.log.phase(phase, turn.stages)
    begun = time.monotonic()
    result = work()
    # A phase may come again, once for each card.
    turn.stages[phase] = round(turn.stages.get(phase, 0.0) + time.monotonic() - begun, 1)
    return result


def result(turn: Turn, answer: str, *, changed: bool) -> dict[str, Any]:
    """Return what a switch that went well hands to its caller."""
    name = turn.agent["name"]
    came_from = name if not changed else turn.back[0]["name"] if turn.back else None
    made = {"agent": name, "changed": changed, "from": came_from, "stages": turn.stages}
    return made | {"cut": sum(turn.cuts), "answer": answer}


def remember(turn: Turn, outcome: str, cause: str | None) -> None:
    """Keep the switch in the history."""
    back = [other["name"] for other in turn.back]
    began, cut = turn.log.entry["began"], sum(turn.cuts)
    keep(history.Entry(began, back, turn.agent["name"], outcome, turn.stages, cut, cause), turn.report)


def remember_killed(left: switch_journal.Left, report: Report, *, finished: bool = False) -> None:
    """Keep a switch that was killed, and that its successor finished or undid."""
    outcome = history.DONE if finished else history.KILLED
    cause = f"killed in its phase {left.phase}"
    keep(history.Entry(left.began, left.previous, left.to, outcome, left.stages, 0, cause), report)


def keep(entry: history.Entry, report: Report) -> None:
    """Keep an entry in the history."""
    try:
        history.add(entry)
        switch_metrics.add(entry)
    except (OSError, RoundhouseError) as error:  # what is over is over; it is only not in the history
        report(f"this switch is not in the history: {error}")


def waiting(report: Report) -> Report:
    """Return what tells once that another switch is waited for."""
    said: list[str] = []

    def wait(sentence: str) -> None:
        if not said:
            report(f"{sentence}: waiting for it")
            said.append(sentence)

    return wait
