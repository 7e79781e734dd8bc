"""Bring the agents back that served last: at boot, and at the end of a deployment.

A serving agent whose configuration, engine or environment was deployed anew is restarted, so that
what runs is what the plan says. Where nobody served yet, the first agent of the roster on each card
does.
"""

from __future__ import annotations

from typing import Any

from . import journal, state, switch, turn, units
from .checks import check
from .drift import is_outdated
from .errors import RoundhouseError
from .leave import UP
from .plan import Plan, find


def resume(plan: Plan, report: turn.Report) -> dict[str, Any]:
    """Return {"serving": names, "changed": names that were started or restarted}."""
    with state.switching(journal.told):
        wanted = [find(plan, name) for name in _wanted(plan, report)]
        up = [agent for agent in plan["agents"] if units.state(agent["unit"]) in UP]
        outdated = [agent for agent in wanted if is_outdated(plan, agent, units.show(agent["unit"]))]
        # Since the roster changed, an agent may run on a card that now belongs to another.
        leaving = [agent for agent in up if agent not in wanted] + outdated
        for agent in wanted:
            if agent in outdated or agent not in up:
                check(agent, [other["unit"] for other in leaving])
        for agent in leaving:
            report(f"{agent['name']} runs as it was deployed before: stopping it")
            units.stop(agent["unit"])
        changed, errors = [], []
        for agent in wanted:
            try:
                if switch.ensure_ready_locked(plan, agent, report)["changed"]:
                    changed.append(agent["name"])
            except RoundhouseError as error:  # the agents of the other cards must come up all the same
                errors.append(error.message)
        if errors:
            raise RoundhouseError("resume", f"{' '.join(errors)} {switch.who_serves(plan)}")
        return {"serving": [agent["name"] for agent in wanted], "changed": changed}


def start_only(plan: Plan, report: turn.Report) -> list[str]:
    """Queue the start of who is to serve and return the names: a boot does not wait for engines.

    A switch that the machine's end cut off was not committed, so who served before it comes back.
    """
    wanted = _wanted(plan, report)
    if (left := journal.left()) and not state.is_switching():
        turn.remember_killed(left, report)
        journal.path().unlink(missing_ok=True)
    for name in wanted:
        units.start(find(plan, name)["unit"])
    return wanted


def _wanted(plan: Plan, report: turn.Report) -> list[str]:
    """Return who is to serve: who serves, else who served last, else the roster's first, per card."""
    running = [agent["name"] for agent in plan["agents"] if units.state(agent["unit"]) in ("ready", "starting")]
    known = [agent["name"] for agent in plan["agents"]]
    if (left := journal.left()) and left.to not in running:
        # It is undone: who served when it began stands first. One whose agent is coming up is finished instead.
        running = [*(name for name in left.previous if name in known), *running]
    try:
        served = state.serving()
    except RoundhouseError as error:  # better the roster's first than nobody
        report(error.message)
        served = []
    candidates = [*running, *(name for name in served if name in known), *known]
    wanted: list[str] = []
    for name in candidates:
        if name not in wanted and not set(find(plan, name)["conflicts"]) & set(wanted):
            wanted.append(name)
    return wanted
