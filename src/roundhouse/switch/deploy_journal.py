"""The running deployment on disk, and the recovery from a killed one: the old set is put back.

The note is there from before the first file is replaced until the new set has served or the old one is back. A new
set that never served has proved nothing, so it is undone; a deployment that is run again goes on from there.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from ..agents.drain import UP
from ..host import systemd
from ..plan import deployed, plan_sets
from ..plan.plan_sets import PlanSet
from ..schema.plan import Plan
from ..state.note import Report
from ..util import json_file

SCHEMA = 1


class Killed(NamedTuple):
    """What a killed deployment leaves behind."""

    before: str  # a set's name
    to: str  # likewise
    serving: list[str]  # agents that served when it began
    began: float  # seconds since the epoch


def begin(before: PlanSet, to: PlanSet, serving: list[str]) -> None:
    """Write the note. Raises OSError."""
    json_file.write(_path(), {"schema": SCHEMA, **Killed(before.name, to.name, serving, time.time())._asdict()})


def end() -> None:
    """Remove the note."""
    _path().unlink(missing_ok=True)


def killed() -> Killed | None:
    """Return what a killed deployment left, None for none. For the holder of the lock."""
    note = json_file.read(_path(), SCHEMA)
    found = {name: note[name] for name in Killed._fields if name in note}
    return Killed(**found) if found.keys() == set(Killed._fields) else None


def plan_in_force(plan: Plan, report: Report) -> Plan:
    """Return the given plan, or the one before where a killed deployment had to be undone."""
    if undo_killed(report):
        plan = deployed.load(deployed.PATH)
    return plan


def undo_killed(report: Report) -> Killed | None:
    """Put the set from before a killed deployment back; return what it left, None when there was none."""
    found = killed()
    if found is None:
        return None
    if (last := plan_sets.load()) and last[-1].name == found.to and last[-1].served:
        end()  # it was done, and killed before it could say so
        return None
    before, to = plan_sets.read(plan_sets.folder(found.before)), plan_sets.read(plan_sets.folder(found.to))
    report(f"a deployment of the plan {found.to} was killed: the plan {found.before} is put back")
    for agent in to.plan["agents"]:
        if before.agent(agent["name"]) is None and systemd.state(agent["unit"]) in UP:
            systemd.stop(agent["unit"])  # its unit goes
    before.put(to)
    end()
    return found


def _path() -> Path:
    return plan_sets.FOLDER / "deploying.json"
