"""Provide the parts of every transaction: timed phases, a journal, an entry in the history; and those of a switch."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypedDict, TypeVar

from ..agents import canary, drain, gpu_memory
from ..agents.drain import UP
from ..agents.start import start
from ..errors import RoundhouseError
from ..host import systemd
from ..plan.deployed import find
from ..schema.plan import Agent, Plan
from ..state import history, switch_journal, switch_metrics
from ..state.note import Report

Result = TypeVar("Result")


@dataclass(frozen=True)
class Transaction:
    """A switch or a deployment: it has phases, and a rollback if one of them fails."""

    previous: list[Agent]  # the agents that a rollback restores
    drain_seconds: float
    report: Report
    log: switch_journal.Journal  # its entry on disk
    stages: dict[str, float] = field(default_factory=dict, init=False)  # seconds of each phase that ended
    cuts: list[int] = field(default_factory=list, init=False)  # requests that were cut, an entry for each drain

    @property
    def cause(self) -> str:
        """Return the transaction, as the clients of a stopped agent read it."""
        return f"a switch to {self.log.entry['to']}"

    def timed(self, phase: str, work: Callable[[], Result]) -> Result:
        """Do the work of a phase and record its seconds."""
        self.log.phase(phase, self.stages)
        begun = time.monotonic()
        result = work()
        # A phase may occur several times, once for each GPU.
        self.stages[phase] = round(self.stages.get(phase, 0.0) + time.monotonic() - begun, 1)
        return result

    def stop(self, agents: list[Agent]) -> None:
        """Drain and stop the agents."""
        if agents:
            work = partial(drain.drain, agents, self.drain_seconds, self.report, self.log.note, self.cause)
            self.cuts.append(self.timed("stop", work))

    def start(self, plan: Plan, agent: Agent, stopped: list[Agent]) -> str:
        """Start an agent once its GPUs are free, and return its canary's answer. Raises RoundhouseError."""
        if systemd.state(agent["unit"]) != "starting":
            gone = [other["unit"] for other in stopped]
            self.timed("free", partial(gpu_memory.wait_until_free, agent, gone, self.log.note))
        self.timed("start", partial(start, agent, self.report, self.log.note))
        return self.timed("canary", partial(canary.verify, plan, agent))

    def record(self, outcome: str, error: RoundhouseError | None = None) -> None:
        """Add the transaction to the history."""
        cause = error.fields.get("cause") if error else None
        entry = history.Entry(
            began=self.log.entry["began"],
            previous=[other["name"] for other in self.previous],
            to=self.log.entry["to"],
            outcome=outcome,
            stages=self.stages,
            cut=sum(self.cuts),
            cause=error.message if error else None,
            code=error.code if error else None,
            cause_code=str(cause) if cause else None,
        )
        add_to_history(entry, self.report)


@dataclass(frozen=True)
class Switch(Transaction):
    """One switch while it runs."""

    plan: Plan
    agent: Agent  # the new one
    stopping: list[Agent]


SwitchResult = TypedDict(
    "SwitchResult",
    {"agent": str, "changed": bool, "from": "str | None", "stages": "dict[str, float]", "cut": int, "answer": str},
)


def prepare(
    plan: Plan, agent: Agent, killed: switch_journal.Killed | None, drain_seconds: float, report: Report
) -> Switch:
    """Return the switch to an agent, without a change on the host; `killed` is an earlier switch that was killed."""
    rivals = [find(plan, name) for name in agent["conflicts"]]
    stopping = [other for other in rivals if systemd.state(other["unit"]) in UP]
    committed = [other["name"] for other in stopping]
    if killed:
        # An agent that is up may never have been committed. The previous agents are those of the killed switch.
        committed = [name for name in committed if name != killed.to] + killed.previous
    previous = [other for other in rivals if other["name"] in committed]
    log = switch_journal.Journal(agent["name"], [other["name"] for other in previous])
    return Switch(
        plan=plan,
        agent=agent,
        stopping=stopping,
        previous=previous,
        drain_seconds=drain_seconds,
        report=report,
        log=log,
    )


def result(now: Switch, answer: str, *, changed: bool) -> SwitchResult:
    """Return the result of a successful switch."""
    name = now.agent["name"]
    came_from = name if not changed else now.previous[0]["name"] if now.previous else None
    return {
        "agent": name,
        "changed": changed,
        "from": came_from,
        "stages": now.stages,
        "cut": sum(now.cuts),
        "answer": answer,
    }


def record_killed(killed: switch_journal.Killed, report: Report, *, finished: bool = False) -> None:
    """Add a killed switch to the history, after the next switch completed it or rolled it back."""
    entry = history.Entry(
        began=killed.began,
        previous=killed.previous,
        to=killed.to,
        outcome=history.DONE if finished else history.KILLED,
        stages=killed.stages,
        cut=0,
        cause=f"killed in its phase {killed.phase}",
        code=killed.code,
    )
    add_to_history(entry, report)


def add_to_history(entry: history.Entry, report: Report) -> None:
    """Add an entry to the history. A failure, such as a full disk, is only reported."""
    try:
        history.add(entry)
        if entry.to:  # the metrics are those of switches, and a stop has no phases
            switch_metrics.add(entry)
    except (OSError, RoundhouseError) as error:
        report(f"this switch is not in the history: {error}")


def with_sentence(error: RoundhouseError, sentence: str) -> RoundhouseError:
    """Append a sentence to the text of the error and return it; its code, fields and remedy stay."""
    error.text = f"{error.text} {sentence}"
    return error


def report_wait_once(report: Report) -> Report:
    """Return a function that reports once that this process waits for another switch."""
    told: list[str] = []

    def wait(sentence: str) -> None:
        if not told:
            report(f"{sentence}: waiting for it")
            told.append(sentence)

    return wait
