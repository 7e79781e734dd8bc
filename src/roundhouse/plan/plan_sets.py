"""Keep a plan with the files that were written for it as one set, and the sets that were deployed on this host.

A folder holds a set as `plan.json` and, below `agents/NAME`, each file of an agent under its own path: its unit, its
engine's configuration, whatever its runtime needs. A set knows no runtime; the files name the engine that they start.
A rollback puts an earlier set in place, and prune keeps what the sets name.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import NamedTuple

from ..errors import RoundhouseError, UsageError, unreadable
from ..host import systemd
from ..schema.plan import Agent, Plan
from ..util import files, json_file, timestamps
from . import deployed

FOLDER = Path("/var/lib/roundhouse/plans")
SCHEMA = 1
# The one in place and those before it. Each keeps its models and its engine, so it is a small number.
KEEP = 4
COLUMNS = ("plan", "since", "state", "engine", "agents")
# What another agent in the roster changes in every unit: systemd takes it up without a restart.
_WITHOUT_RESTART = ("Conflicts=", "After=", "#")


class File(NamedTuple):
    """One file's content and mode."""

    text: str
    mode: int


class PlanSet(NamedTuple):
    """`text` is plan.json as it is written, `owned` the files of each agent by their path on the host."""

    plan: Plan
    text: str
    owned: dict[str, dict[str, File]]

    @property
    def name(self) -> str:
        """Return what names the set: a hash of all of it."""
        return hashlib.sha256(repr((self.text, sorted(self._files().items()))).encode()).hexdigest()[:8]

    def agent(self, name: str) -> Agent | None:
        """Return the agent of that name, None where this plan has none."""
        return next((agent.copy() for agent in self.plan["agents"] if agent["name"] == name), None)

    def is_in_place(self, before: PlanSet | None) -> bool:
        """Return whether the host has these files, and none of the set before that this one lacks."""
        whole = _read(deployed.PATH) == self.text and all(_read(path) == f.text for path, f in self._files().items())
        return whole and not any(os.path.lexists(path) for path in self._left_by(before))

    def restarts(self, name: str) -> bool:
        """Return whether an agent's files on the host are others, in what only a restart changes."""
        return any(_meant(_read(path)) != _meant(file.text) for path, file in self.owned.get(name, {}).items())

    def names(self, text: str) -> bool:
        """Return whether a file of an agent names that: a set needs only the parts that its files name."""
        return any(text in file.text for file in self._files().values())

    def put(self, before: PlanSet | None) -> None:
        """Bring the files in place, the plan last, take away what the set before had beyond them, tell systemd."""
        for path, file in self._files().items():
            if _read(path) != file.text:
                files.write(Path(path), file.text, file.mode)
        for path in self._left_by(before):
            Path(path).unlink(missing_ok=True)
        if _read(deployed.PATH) != self.text:
            files.write(deployed.PATH, self.text)
        systemd.reload()

    def keep(self, folder: Path) -> None:
        """Write the set as a folder, which is there whole or not at all."""
        if folder.exists():
            return
        aside = folder.with_name(f".{folder.name}")
        shutil.rmtree(aside, ignore_errors=True)
        for name, owned in self.owned.items():
            for path, file in owned.items():
                files.write(aside / "agents" / name / path.lstrip("/"), file.text, file.mode)
        files.write(aside / deployed.PATH.name, self.text)
        aside.rename(folder)

    def _files(self) -> dict[str, File]:
        return {path: file for owned in self.owned.values() for path, file in owned.items()}

    def _left_by(self, before: PlanSet | None) -> list[str]:
        return sorted(before._files().keys() - self._files().keys()) if before else []


def read(folder: Path) -> PlanSet:
    """Return the set of a folder. Raises UsageError for a plan that is not valid, RoundhouseError for a lost file."""
    path = folder / deployed.PATH.name
    plan = deployed.load(path)
    owned = {agent["name"]: _below(folder / "agents" / agent["name"]) for agent in plan["agents"]}
    for agent in plan["agents"]:
        lost = set(_needed(agent)) - owned[agent["name"]].keys()
        if lost:
            text, fields = "{folder} lacks {path} of {agent}.", {"folder": str(folder), "path": min(lost)}
            raise RoundhouseError("plan_file_lost", text, "Deploy with site.yml.", agent=agent["name"], **fields)
    return PlanSet(plan, path.read_text(), owned)


def engine(plan: Plan) -> str:
    """Return what names the engine of a plan: its image, else its environment's folder, as 0.32.0-cpu-1f0c2a9b."""
    name, at, digest = str(plan.get("image") or Path(plan["engine_path"]).name).partition("@")
    return f"{name}{at}{digest.removeprefix('sha256:')[:12]}"


def on_host() -> PlanSet | None:
    """Return what is in place on a host whose plan no set is known of; None where there is no plan."""
    if not deployed.PATH.exists():
        return None
    plan, owned = deployed.load(deployed.PATH), {}
    for agent in plan["agents"]:
        there = [Path(path) for path in _needed(agent) if Path(path).is_file()]
        owned[agent["name"]] = {str(path): _file(path) for path in there}
    return PlanSet(plan, deployed.PATH.read_text(), owned)


def _needed(agent: Agent) -> list[str]:
    named = (agent["config_path"], agent.get("compose_path"), f"{systemd.FOLDER}/{agent['unit']}")
    return [path for path in named if path]


def _below(folder: Path) -> dict[str, File]:
    return {f"/{path.relative_to(folder)}": _file(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def _file(path: Path) -> File:
    return File(path.read_text(), path.stat().st_mode & 0o777)


def _read(path: Path | str) -> str | None:
    try:
        return Path(path).read_text()
    except FileNotFoundError:
        return None


def _meant(text: str | None) -> list[str] | None:
    return None if text is None else [line for line in text.splitlines() if not line.startswith(_WITHOUT_RESTART)]


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
        raise unreadable("plans_unreadable", _path(), error, "Delete it and deploy again.") from None


def current() -> tuple[PlanSet | None, bool]:
    """Return the set that was put in place last, None for none, and whether it served."""
    entries = load()
    if entries and folder(entries[-1].name).exists():
        return read(folder(entries[-1].name)), entries[-1].served
    # Deployed before plans were kept, or its folder is lost: what is in place is what it was.
    return on_host(), True


def record(found: PlanSet, *, served: bool) -> None:
    """Note that a set is in place, and forget what is too old, or never served and was replaced."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    found.keep(folder(found.name))
    known = load()
    if known and (known[-1].name, known[-1].served) == (found.name, served):
        return
    before = [entry for entry in known if entry.served and entry.name != found.name]
    entries = [*before[1 - KEEP :], Entry(found.name, time.time(), served)]
    json_file.write(_path(), {"schema": SCHEMA, "plans": [entry._asdict() for entry in entries]})
    for place in FOLDER.iterdir():
        if place.is_dir() and place.name not in {entry.name for entry in entries}:
            shutil.rmtree(place, ignore_errors=True)  # the next time, else


def before(name: str | None = None) -> PlanSet:
    """Return the set of that name, or the last that served before the one in place. Raises UsageError for none."""
    names = [entry.name for entry in load()[:-1] if entry.served]
    if not names:
        raise UsageError("no_earlier_plan", "No plan was active here before the current one.", "Deploy another first.")
    if name is not None and name not in names:
        text = "{plan!r} is not an earlier plan of this host."
        raise UsageError("unknown_plan", text, "Write one of {names}.", plan=name, names=", ".join(reversed(names)))
    return read(folder(name or names[-1]))


def folder(name: str) -> Path:
    """Return the folder of a set."""
    return FOLDER / name


def rows() -> list[dict[str, str]]:
    """Return a row of COLUMNS for each plan, the newest last; `since` is ISO 8601 in UTC."""
    entries = load()
    made = []
    for entry in entries:
        plan = read(folder(entry.name)).plan
        state_of = "in place" if entry is entries[-1] else "served"
        made.append(
            {
                "plan": entry.name,
                "since": timestamps.utc(entry.since),
                "state": state_of if entry.served else f"{state_of}, never served",
                "engine": engine(plan),
                "agents": ", ".join(f"{agent['name']} {agent['model'].rpartition('/')[2]}" for agent in plan["agents"]),
            }
        )
    return made


def _path() -> Path:
    return FOLDER / "plans.json"
