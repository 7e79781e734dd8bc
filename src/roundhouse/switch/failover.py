"""An agent that was given up is relieved: who served before it has the card again.

systemd calls this when a unit ends in `failed` (OnFailure=): after too many starts in its window, or at once after an
exit status that no restart mends. An agent that was given up is not called back by another's failure until somebody has
switched to it, so two that cannot stay do not chase each other.
"""

from __future__ import annotations

import time
from typing import Any

from ..agents import start_history
from ..agents.drain import UP
from ..errors import RoundhouseError
from ..host import systemd
from ..plan.deployed import Agent, Plan, find
from ..state import history, serving, switch_journal
from ..state.history import Entry
from . import context, deploy_journal, transaction
from .context import Report


def relieve(plan: Plan, name: str, report: Report) -> dict[str, Any]:
    """Return {"agent", "relieved_by"}; by None where nobody had to. Raises RoundhouseError when nobody serves now."""
    find(plan, name)
    with serving.switching(switch_journal.told, wait=context.waiting(report)):
        plan = deploy_journal.settled(plan, report)
        agent = find(plan, name)
        if why := _needless(plan, agent):
            report(why)
            return {"agent": name, "relieved_by": None}
        found = start_history.why(agent, systemd.show(agent["unit"]))
        report(f"{name} was given up. {found.text()}")
        cause = f"{name} was given up, {found.cause}: {found.evidence}"
        for other in candidates(plan, agent, history.load()):
            history.add(Entry(time.time(), [name], other["name"], history.RELIEVED, {}, 0, cause))
            try:
                transaction.ensure_ready_locked(plan, other, report)
            except RoundhouseError as error:
                report(error.message)
            else:
                return {"agent": name, "relieved_by": other["name"]}
        raise RoundhouseError(
            "relief", f"{name} was given up, and nobody took its place. {transaction.who_serves(plan)}"
        )


def candidates(plan: Plan, agent: Agent, entries: list[Entry]) -> list[Agent]:
    """Return who may take the card: who served before, the last first, then the roster's others; none given up."""
    served: list[str] = []
    given_up: set[str] = set()
    for entry in entries:
        if entry.outcome == history.RELIEVED:
            given_up |= {*entry.previous}
        elif entry.outcome == history.DONE:
            given_up -= {entry.to, *entry.previous}
            served += [*entry.previous, entry.to]
        elif entry.outcome == history.BACK:
            served += entry.previous
    order = dict.fromkeys([*reversed(served), *(each["name"] for each in plan["agents"])])
    free = [name for name in order if name in agent["conflicts"] and name not in given_up]
    return [find(plan, name) for name in free]


def _needless(plan: Plan, agent: Agent) -> str | None:
    """Return why nobody has to come, None when somebody has."""
    name, unit = agent["name"], systemd.show(agent["unit"])
    if unit.state != "failed":
        return f"{name} is {unit.state}: nobody has to take its place."
    for rival in (find(plan, other) for other in agent["conflicts"]):
        other = systemd.show(rival["unit"])
        if other.state in UP or other.pending:
            return f"{rival['name']} has the card of {name} already."
    past = start_history.of(agent["unit"]).starts
    # Too many starts by hand end here too: the last wish was that somebody serves.
    if past and past[-1].asked_to_stop and unit.result != "start-limit-hit":
        return f"{name} was stopped: nobody has to take its place."
    return None
