"""The plans that served on this host, the newest last: what a rollback goes back to, and what prune leaves alone."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

from . import plan_set, state
from .errors import RoundhouseError, UsageError
from .plan_set import PlanSet

FOLDER = Path("/var/lib/roundhouse/plans")
SCHEMA = 1
# The one in place and those before it. Each keeps its models and its engine, so it is no large number.
KEEP = 4
COLUMNS = ("plan", "since", "state", "engine", "agents")


class Entry(NamedTuple):
    """A plan that was put in place: its set's name, when (seconds since the epoch), and whether an agent answered."""

    name: str
    since: float
    served: bool


def load() -> list[Entry]:
    """Return the entries, the one in place last. Raises RoundhouseError where they cannot be read."""
    try:
        return [Entry(**entry) for entry in json.loads(_path().read_text())["plans"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RoundhouseError("plans", f"{_path()} cannot be read ({error}): delete it and deploy again.") from None


def current() -> tuple[PlanSet | None, bool]:
    """Return the set that was put in place last, None for none, and whether it served."""
    entries = load()
    if entries and folder(entries[-1].name).exists():
        return plan_set.read(folder(entries[-1].name)), entries[-1].served
    # Deployed before plans were kept, or its folder is lost: what is in place is what it was.
    return plan_set.on_host(), True


def record(found: PlanSet, *, served: bool) -> None:
    """Note that a set is in place, and forget what is too old, or never served and was replaced."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    found.keep(folder(found.name))
    known = load()
    if known and (known[-1].name, known[-1].served) == (found.name, served):
        return
    before = [entry for entry in known if entry.served and entry.name != found.name]
    entries = [*before[1 - KEEP :], Entry(found.name, time.time(), served)]
    state.write(_path(), {"schema": SCHEMA, "plans": [entry._asdict() for entry in entries]})
    for place in FOLDER.iterdir():
        if place.is_dir() and place.name not in {entry.name for entry in entries}:
            shutil.rmtree(place, ignore_errors=True)  # the next time, else


def before(name: str | None = None) -> PlanSet:
    """Return the set of that name, or the last that served before the one in place. Raises UsageError for none."""
    earlier = [entry for entry in load()[:-1] if entry.served]
    names = ", ".join(entry.name for entry in reversed(earlier))
    if not earlier:
        raise UsageError("plans", "no plan served here before the one in place: there is nothing to go back to.")
    if name is not None and name not in {entry.name for entry in earlier}:
        raise UsageError("plans", f"{name!r} is no plan that served here before: say one of {names}.")
    return plan_set.read(folder(name or earlier[-1].name))


def folder(name: str) -> Path:
    """Return the folder of a set."""
    return FOLDER / name


def rows() -> list[dict[str, Any]]:
    """Return a row of COLUMNS for each plan, the newest last."""
    entries = load()
    made = []
    for entry in entries:
        plan = plan_set.read(folder(entry.name)).plan
        state_of = "in place" if entry is entries[-1] else "served"
        made.append(
            {
                "plan": entry.name,
                "since": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.since)),
                "state": state_of if entry.served else f"{state_of}, never served",
                "engine": plan_set.engine(plan),
                "agents": ", ".join(f"{agent['name']} {agent['model'].rpartition('/')[2]}" for agent in plan["agents"]),
            }
        )
    return made


def _path() -> Path:
    return FOLDER / "plans.json"
