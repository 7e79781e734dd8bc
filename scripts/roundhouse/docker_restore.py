"""daemon.json as it was before the roles: their keys go, an earlier value comes back, what others wrote since stays."""

from __future__ import annotations

import json
from pathlib import Path

from . import docker_daemon, files
from .docker_daemon import NOTES, PATH, Config
from .files import Change

BEFORE = PATH.with_suffix(".json.before-roundhouse")


def restored() -> Change | None:
    """Return the change of the file, None where no role wrote to it; its `after` is empty where it was not there."""
    notes = sorted(NOTES.glob("daemon.*.json"))
    if not notes or not PATH.exists():
        return None
    text, first = PATH.read_text(), BEFORE.read_text() if BEFORE.exists() else ""
    result = without(docker_daemon.parse(text), docker_daemon.parse(first), [json.loads(n.read_text()) for n in notes])
    # The very bytes, when the meaning is the same.
    after = first if result == docker_daemon.parse(first) else json.dumps(result, indent=2) + "\n"
    return Change(str(PATH), text, after)


def without(current: Config, first: Config, notes: list[Config]) -> Config:
    """Return `current` with the noted keys as they were in `first`, where they are still as noted."""
    result = dict(json.loads(json.dumps(current)))
    for noted in notes:
        docker_daemon.take_away(result, current, first, noted)
    return result


def put(change: Change) -> None:
    """Put the file in place. A running engine reads it at its next start.

    It is not restarted: without live-restore, which may be one of the keys that go, that would end its containers.
    """
    path = Path(change.path)
    if change.after:
        files.write(path, change.after, path.stat().st_mode & 0o777)
    else:
        path.unlink()
