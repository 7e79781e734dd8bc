"""Fail over: replace an agent that systemd gave up by the agent that was active before it.

systemd calls this if a unit ends in `failed` (OnFailure=). That is after too many starts, or at once after an exit
status that a restart cannot fix. A given-up agent is not a candidate until a switch to it succeeds, so two failing
agents do not replace each other endlessly. An agent that a person stopped causes no failover.
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
    """The agent that was given up, and its replacement; None if a failover was not needed."""

    agent: str
    replaced_by: str | None


def fail_over(plan: Plan, name: str, report: Report) -> FailoverResult:
    """Start the next candidate in place of an agent. Raises RoundhouseError if none of them starts."""
    find(plan, name)
    with serving.switching(switch_journal.describe, wait=context.report_wait_once(report)):
        plan = deploy_journal.plan_in_force(report)
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
            "{agent} was given up, and no other agent could start in its place.",
            found.remedy,
            agent=name,
            cause=found.code,
            evidence=found.evidence,
        )
        raise context.with_sentence(failed, transaction.active_agents(plan))


def candidates(plan: Plan, agent: Agent, entries: list[Entry]) -> list[Agent]:
    """Return the agents that may use the GPU: formerly active ones, last first, then the others of the roster."""
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
    """Return why a failover is not needed, None if it is."""
    name, unit = agent["name"], systemd.show(agent["unit"])
    if unit.state != "failed":
        return f"{name} is {unit.state}: no failover is needed."
    for rival in (find(plan, other) for other in agent["conflicts"]):
        other = systemd.show(rival["unit"])
        if other.state in UP or other.pending:
            return f"{rival['name']} already uses the GPU of {name}."
    # Too many starts by a person also end here, and the last of them asked for a running agent.
    if start_history.was_stopped(start_history.of(agent["unit"])) and unit.result != "start-limit-hit":
        return f"{name} was stopped: no failover is needed."
    return None
