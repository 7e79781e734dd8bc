"""The running deployment on disk, and what whoever comes after a killed one does: the set before is put back.

The note is there from before the first file is replaced until the new set has served or the old one is back. A new
set that never served has proved nothing, so it is undone; a deployment that is run again goes on from there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..agents.drain import UP
from ..host import systemd
from ..plan import deployed, plan_sets
from ..plan.deployed import Plan
from ..plan.plan_sets import PlanSet
from ..state import serving as state_serving

SCHEMA = 1


class Left(NamedTuple):
    """The sets' names, who served when it began (names of agents), and when that was, in seconds since the epoch."""

    before: str
    to: str
    serving: list[str]
    began: float


def begin(before: PlanSet, to: PlanSet, serving: list[str]) -> None:
    """Write the note. Raises OSError."""
    state_serving.write(_path(), {"schema": SCHEMA, **Left(before.name, to.name, serving, time.time())._asdict()})


def end() -> None:
    """Take it away."""
    _path().unlink(missing_ok=True)


def left() -> Left | None:
    """Return what a killed deployment left, None for none. For who holds the lock."""
    try:
        note = json.loads(_path().read_text())
    except (FileNotFoundError, ValueError):  # it is renamed into place whole, so this is another version's
        return None
    found = {name: note[name] for name in Left._fields if name in note}
    return Left(**found) if note.get("schema") == SCHEMA and found.keys() == set(Left._fields) else None


def settled(plan: Plan, report: Callable[[str], None]) -> Plan:
    """Return the plan that counts: the given one, or the one before where a killed deployment had to be undone."""
    if settle(report):
        return deployed.load(deployed.PATH)
    return plan


def settle(report: Callable[[str], None]) -> Left | None:
    """Put the set back that was there before a killed deployment; return what it left, None when there was none."""
    found = left()
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
