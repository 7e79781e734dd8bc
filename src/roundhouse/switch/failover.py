"""Failover: an agent that systemd gave up is replaced by the one that served before it.

systemd calls this when a unit ends in `failed` (OnFailure=): after too many starts in its window, or at once after an
exit status that no restart mends. An agent that was given up takes part in no failover until a switch to it succeeds,
so two agents that fail do not replace each other endlessly.
"""

from __future__ import annotations

import time
from typing import TypedDict

from ..agents import start_history
from ..agents.drain import UP
from ..errors import RoundhouseError
from ..host import systemd
from ..plan.deployed import find
from ..schema.plan import Agent, Plan
from ..state import history, serving, switch_journal
from ..state.history import Entry
from ..state.note import Report
from . import context, deploy_journal, transaction


class FailoverResult(TypedDict):
    """The agent that was given up, and the one in its place; None where none was needed."""

    agent: str
    replaced_by: str | None


def fail_over(plan: Plan, name: str, report: Report) -> FailoverResult:
    """Bring the next candidate in the place of an agent. Raises RoundhouseError when no agent serves now."""
    find(plan, name)
    with serving.switching(switch_journal.describe, wait=context.report_wait_once(report)):
        plan = deploy_journal.plan_in_force(plan, report)
        agent = find(plan, name)
        if why := _needless(plan, agent):
            report(why)
            return {"agent": name, "replaced_by": None}
        found = start_history.explain(agent, systemd.show(agent["unit"]))
        report(f"{name} was given up. {found.message}")
        cause = f"{name} was given up, {found.code}: {found.evidence}"
        for other in candidates(plan, agent, history.load()):
            history.add(
                Entry(
                    began=time.time(),
                    previous=[name],
                    to=other["name"],
                    outcome=history.FAILED_OVER,
                    stages={},
                    cut=0,
                    cause=cause,
                    code="given_up",
                    cause_code=found.code,
                )
            )
            try:
                transaction.ensure_ready_locked(plan, other, report)
            except RoundhouseError as error:
                report(error.message)
            else:
                return {"agent": name, "replaced_by": other["name"]}
        failed = RoundhouseError(
            "failover_failed",
            "{agent} was given up, and no other agent could take its place.",
            found.remedy,
            agent=name,
            cause=found.code,
            evidence=found.evidence,
        )
        raise context.with_sentence(failed, transaction.active_agents(plan))


def candidates(plan: Plan, agent: Agent, entries: list[Entry]) -> list[Agent]:
    """Return the agents that may take the card: those that served before, the last first, then the roster's others."""
    served: list[str] = []
    given_up: set[str] = set()
    for entry in entries:
        if entry.outcome == history.FAILED_OVER:
            given_up |= {*entry.previous}
        elif entry.outcome == history.DONE:
            given_up -= {entry.to, *entry.previous}
            served += [*entry.previous, entry.to]
        elif entry.outcome in (history.ROLLED_BACK, history.INTERRUPTED):
            served += entry.previous
    order = dict.fromkeys([*reversed(served), *(each["name"] for each in plan["agents"])])
    free = [name for name in order if name in agent["conflicts"] and name not in given_up]
    return [find(plan, name) for name in free]


def _needless(plan: Plan, agent: Agent) -> str | None:
    """Return why no failover is needed, None when one is."""
    name, unit = agent["name"], systemd.show(agent["unit"])
    if unit.state != "failed":
        return f"{name} is {unit.state}: no failover is needed."
    for rival in (find(plan, other) for other in agent["conflicts"]):
        other = systemd.show(rival["unit"])
        if other.state in UP or other.pending:
            return f"{rival['name']} has the card of {name} already."
    # Too many starts by hand end here too: the last of them asked for an agent that runs.
    if start_history.was_stopped(start_history.of(agent["unit"])) and unit.result != "start-limit-hit":
        return f"{name} was stopped: no failover is needed."
    return None
