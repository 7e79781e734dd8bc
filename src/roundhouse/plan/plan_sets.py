"""Store each deployed plan with its files as one set, and restore an earlier set for a rollback.

A set's folder contains `plan.json` and, below `agents/NAME`, each file of an agent under its own path. These are its
unit, its engine's configuration and the files of its runtime. A set is independent of the runtime, because its files
name their engine. A rollback deploys an earlier set, and prune keeps the models and engines that the sets name.
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
from . import deployed, roles
from .staged_files import NO_FILE, File, Staged

FOLDER = Path("/var/lib/roundhouse/plans")
SCHEMA = 1
# The deployed set and the earlier ones. The number is small, because each set keeps its models and its engine.
KEEP = 4
COLUMNS = ("plan", "since", "state", "engine", "agents")
# Lines that a new agent in the roster changes in every unit; systemd applies them without a restart.
_WITHOUT_RESTART = ("Conflicts=", "After=", "#")


class PlanSet(NamedTuple):
    """A plan with its files: `text` is the content of plan.json, `owned` each agent's files by path on the host."""

    plan: Plan
    text: str
    owned: dict[str, dict[str, File]]

    @property
    def name(self) -> str:
        """Return the name of the set: the first 8 characters of a hash of its content."""
        return hashlib.sha256(repr((self.text, sorted(self._files().items()))).encode()).hexdigest()[:8]

    def agent(self, name: str) -> Agent | None:
        """Return the agent of that name, None if the plan does not have it."""
        return next((agent.copy() for agent in self.plan["agents"] if agent["name"] == name), None)

    def is_in_place(self, before: PlanSet | None) -> bool:
        """Return true if the host has this set's files, and no files that only the set `before` has."""
        whole = _read(deployed.PATH) == self.text and all(_read(path) == f.text for path, f in self._files().items())
        return whole and not any(os.path.lexists(path) for path in self._left_by(before))

    def restarts(self, name: str) -> bool:
        """Return true if an agent's files on the host differ in lines that need a restart."""
        owned = {path: file for path, file in self.owned.get(name, {}).items() if not roles.is_read_live(path)}
        return any(_meant(_read(path)) != _meant(file.text) for path, file in owned.items())

    def names(self, text: str) -> bool:
        """Return true if a file of an agent contains the text, such as the path of an engine that the set needs."""
        return any(text in file.text for file in self._files().values())

    def put(self, before: PlanSet | None) -> None:
        """Write the files, remove extra files of the set `before`, write the plan last, and reload systemd.

        Raises OSError.
        """
        staged = self.stage(before)
        staged.put()
        staged.remove_extra()

    def stage(self, before: PlanSet | None) -> Staged:
        """Write the files beside their places, so that to put them there needs no space. Raises OSError."""
        wanted = {path: file for path, file in self._all().items() if _read(path) != file.text}
        return self._staged(wanted, before, "")

    def stage_undo(self, new: PlanSet) -> Staged:
        """Do what stage() does for the set in place, before `new` replaces it. Raises OSError."""
        changed = new._all()
        wanted = {path: file for path, file in self._all().items() if changed.get(path, NO_FILE).text != file.text}
        return self._staged(wanted, new, ".old")

    def _staged(self, wanted: dict[str, File], before: PlanSet | None, suffix: str) -> Staged:
        staged = Staged([], self._left_by(before))
        try:
            for name, file in wanted.items():
                path = Path(name)
                files.make_folder(path.parent)
                aside = files.stage(path.with_name(f"{path.name}{suffix}"), file.text, file.mode)
                staged.files.append((aside, path))
        except BaseException:
            staged.discard()
            raise
        return staged

    def keep(self, folder: Path) -> None:
        """Write the set into a folder, atomically; a damaged folder is replaced. Raises OSError."""
        if folder.exists() and self._is_kept(folder):
            return
        aside = folder.with_name(f".{folder.name}")
        shutil.rmtree(aside, ignore_errors=True)
        for name, owned in self.owned.items():
            for path, file in owned.items():
                files.write(aside / "agents" / name / path.lstrip("/"), file.text, file.mode)
        files.write(aside / deployed.PATH.name, self.text)
        shutil.rmtree(folder, ignore_errors=True)
        files.place(aside, folder)

    def _is_kept(self, folder: Path) -> bool:
        try:
            return read(folder).name == self.name
        except RoundhouseError:
            return False

    def _all(self) -> dict[str, File]:
        """Return the files with the plan, which is written last."""
        return {**self._files(), str(deployed.PATH): File(self.text, 0o644)}

    def _files(self) -> dict[str, File]:
        return {path: file for owned in self.owned.values() for path, file in owned.items()}

    def _left_by(self, before: PlanSet | None) -> list[str]:
        return sorted(before._files().keys() - self._files().keys()) if before else []


def read(folder: Path) -> PlanSet:
    """Return the set in a folder. Raises UsageError for an invalid plan, RoundhouseError for a missing file."""
    path = folder / deployed.PATH.name
    plan = deployed.load(path)
    try:
        text = path.read_text()
        owned = {agent["name"]: _below(folder / "agents" / agent["name"]) for agent in plan["agents"]}
    except (OSError, ValueError) as error:  # or bytes that are not UTF-8
        raise unreadable("plan_file_unreadable", folder, error, "Deploy with site.yml.") from None
    for agent in plan["agents"]:
        lost = set(_needed(agent)) - owned[agent["name"]].keys()
        if lost:
            told, fields = "{folder} lacks {path} of {agent}.", {"folder": str(folder), "path": min(lost)}
            raise RoundhouseError("plan_file_lost", told, "Deploy with site.yml.", agent=agent["name"], **fields)
    return PlanSet(plan, text, owned)


def engine(plan: Plan) -> str:
    """Return the name of a plan's engine: its image, else its environment's folder, such as 0.32.0-cpu-1f0c2a9b."""
    name, at, digest = str(plan.get("image") or Path(plan["engine_path"]).name).partition("@")
    return f"{name}{at}{digest.removeprefix('sha256:')[:12]}"


def on_host() -> PlanSet | None:
    """Return the set that is deployed on a host without stored sets, None if there is no plan."""
    if not deployed.PATH.exists():
        return None
    plan, owned = deployed.load(deployed.PATH), {}
    for agent in plan["agents"]:
        there = [Path(path) for path in _needed(agent) if Path(path).is_file()]
        owned[agent["name"]] = {str(path): _file(path) for path in there}
    return PlanSet(plan, deployed.PATH.read_text(), owned)


def _needed(agent: Agent) -> list[str]:
    named = (agent["config_path"], agent.get("compose_path"), f"{systemd.FOLDER}/{agent['unit']}")
    return [*(path for path in named if path), *roles.paths(agent)]


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
    """A deployed plan set."""

    name: str
    since: float  # the deployment's time in seconds since the epoch
    served: bool  # an agent of it answered


def load() -> list[Entry]:
    """Return the entries, the deployed one last. Raises RoundhouseError if they cannot be read."""
    try:
        return [Entry(**entry) for entry in json.loads(_path().read_text())["plans"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        remedy = "Delete it and deploy again with ansible-playbook site.yml."
        raise unreadable("plans_unreadable", _path(), error, remedy) from None


def current() -> tuple[PlanSet | None, bool]:
    """Return the deployed set, None if there is none, and true if an agent of it answered."""
    entries = load()
    if entries and (kept := _read_or_none(entries[-1].name)):
        return kept, entries[-1].served
    # It was deployed by a version without sets, or its folder is missing or damaged: the files on the host are the set.
    try:
        return on_host(), True
    except RoundhouseError:  # a damaged plan in place must not prevent the deployment of another one
        return None, True


def _read_or_none(name: str) -> PlanSet | None:
    """Return a kept set, None if it is missing or damaged."""
    try:
        return read(folder(name))
    except RoundhouseError:
        return None


def record(found: PlanSet, *, served: bool) -> None:
    """Record a deployed set, and remove sets beyond KEEP and replaced sets of which no agent answered."""
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
            shutil.rmtree(place, ignore_errors=True)  # if it fails, the next call removes it


def before(name: str | None = None) -> PlanSet:
    """Return the earlier set of that name, by default the last whole one of which an agent answered.

    Raises UsageError, and RoundhouseError for a damaged set.
    """
    names = [entry.name for entry in load()[:-1] if entry.served]
    if name is None:
        names = [each for each in names if _read_or_none(each)]  # a damaged set cannot be deployed
    if not names:
        remedy = "Deploy a changed roster first."
        raise UsageError("no_earlier_plan", "This host has no earlier plan.", remedy)
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
        kept = _read_or_none(entry.name)
        agents = kept.plan["agents"] if kept else []
        state_of = "in place" if entry is entries[-1] else "served"
        notes = [*([] if entry.served else ["never served"]), *([] if kept else ["damaged"])]
        made.append(
            {
                "plan": entry.name,
                "since": timestamps.utc(entry.since),
                "state": ", ".join([state_of, *notes]),
                "engine": engine(kept.plan) if kept else "unknown",
                "agents": ", ".join(f"{agent['name']} {agent['model'].rpartition('/')[2]}" for agent in agents) or "-",
            }
        )
    return made


def _path() -> Path:
    return FOLDER / "plans.json"
