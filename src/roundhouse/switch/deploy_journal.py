"""Keep the running deployment on disk, and recover from a killed one by restoring the old set.

The note exists from before the first file is replaced until the new set was active or the old one is restored. A new
set that was never active is undone. A deployment that is run again starts from there.
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
    """The record of a killed deployment."""

    before: str  # a set's name
    to: str  # a set's name
    serving: list[str]  # agents that were active when it began
    began: float  # seconds since the epoch


def begin(before: PlanSet, to: PlanSet, serving: list[str]) -> None:
    """Write the note. Raises OSError."""
    json_file.write(_path(), {"schema": SCHEMA, **Killed(before.name, to.name, serving, time.time())._asdict()})


def end() -> None:
    """Remove the note."""
    _path().unlink(missing_ok=True)


def killed() -> Killed | None:
    """Return the record of a killed deployment, None without one; for the holder of the lock."""
    note = json_file.read(_path(), SCHEMA)
    found = {name: note[name] for name in Killed._fields if name in note}
    return Killed(**found) if found.keys() == set(Killed._fields) else None


def plan_in_force(plan: Plan, report: Report) -> Plan:
    """Return the given plan, or the previous one if a killed deployment had to be undone."""
    if undo_killed(report):
        plan = deployed.load(deployed.PATH)
    return plan


def undo_killed(report: Report) -> Killed | None:
    """Restore the set before a killed deployment, and return its record; None without one."""
    found = killed()
    if found is None:
        return None
    if (last := plan_sets.load()) and last[-1].name == found.to and last[-1].served:
        end()  # it was complete, and killed before it removed the note
        return None
    before, to = plan_sets.read(plan_sets.folder(found.before)), plan_sets.read(plan_sets.folder(found.to))
    report(f"a deployment of the plan {found.to} was killed: restoring the plan {found.before}")
    for agent in to.plan["agents"]:
        if before.agent(agent["name"]) is None and systemd.state(agent["unit"]) in UP:
            systemd.stop(agent["unit"])  # its unit file is removed
    before.put(to)
    end()
    return found


def _path() -> Path:
    return plan_sets.FOLDER / "deploying.json"
