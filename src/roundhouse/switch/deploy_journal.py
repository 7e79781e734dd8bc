"""Keep the running deployment on disk, and recover from a killed one by restoring the old set.

The note exists from before the first file is replaced until the new set was active or the old one is restored. A new
set that was never active is undone. A deployment that is run again starts from there.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from ..agents.drain import UP
from ..errors import RoundhouseError
from ..host import systemd
from ..plan import deployed, plan_sets
from ..plan.plan_sets import PlanSet
from ..schema.plan import Plan
from ..state import serving
from ..state.note import Report
from ..util import files, json_file

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
    """Remove the note. Raises OSError."""
    files.remove(_path())


def is_written() -> bool:
    """Return whether a deployment runs or was killed; this needs no root."""
    return _path().exists()


def is_left() -> bool:
    """Return whether a killed deployment left its note; this needs no root."""
    return is_written() and not serving.is_switching()


def killed() -> Killed | None:
    """Return the record of a killed deployment, None without one; for the holder of the lock."""
    note = json_file.read(_path(), SCHEMA)
    found = {name: note[name] for name in Killed._fields if name in note}
    return Killed(**found) if found.keys() == set(Killed._fields) else None


def plan_in_force(report: Report) -> Plan:
    """Return the plan in place, after a killed deployment was undone; for the holder of the lock.

    A plan that was read before the lock may be the one of an earlier deployment. Raises RoundhouseError.
    """
    undo_killed(report)
    return deployed.load(deployed.PATH)


def undo_killed(report: Report) -> Killed | None:
    """Restore the set before a killed deployment, and return its record; None without one. Raises RoundhouseError."""
    try:
        return _undo(report)
    except OSError as error:
        raise serving.unwritable(plan_sets.FOLDER, error) from None


def _undo(report: Report) -> Killed | None:
    found = killed()
    if found is None:
        end()  # a power loss may have left the note empty
        return None
    to = _kept(found.to, report)
    if (last := plan_sets.load()) and last[-1].name == found.to and last[-1].served:
        if to:  # it was complete, and killed before it removed extra files and the note
            to.put(_kept(found.before, report))
        end()
        return None
    report(f"a deployment of the plan {found.to} was killed: restoring the plan {found.before}")
    if before := _kept(found.before, report):
        _put(before, to)
    elif to:  # a whole set that was never active is better than files of two sets
        report(f"placing the whole plan {found.to} instead")
        to.put(None)
    end()
    return found


def _kept(name: str, report: Report) -> PlanSet | None:
    """Return a kept set, None if it is damaged: the host then keeps the files in place."""
    try:
        return plan_sets.read(plan_sets.folder(name))
    except RoundhouseError as error:
        report(f"the kept plan {name} is damaged: {error.text}")
        return None


def _put(before: PlanSet, to: PlanSet | None) -> None:
    for agent in to.plan["agents"] if to else []:
        if before.agent(agent["name"]) is None and systemd.state(agent["unit"]) in UP:
            systemd.stop(agent["unit"])  # its unit file is removed
    before.put(to)


def _path() -> Path:
    return plan_sets.FOLDER / "deploying.json"
