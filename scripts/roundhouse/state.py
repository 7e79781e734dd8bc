"""What outlives a process: which agents serve (so that a reboot brings them back), and the lock."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import RoundhouseError

SERVING = Path("/var/lib/roundhouse/state/serving.json")
LOCK = Path("/run/roundhouse/switch.lock")


def serving(path: Path = SERVING) -> list[str]:
    """Return the agents that were ready last, the newest first. A file never written is nobody."""
    if not path.exists():
        return []
    try:
        return [str(name) for name in json.loads(path.read_text())["serving"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RoundhouseError("state", f"{path} cannot be read ({error}): delete it and switch again.") from None


def record(name: str, conflicts: list[str], path: Path = SERVING) -> None:
    """Note that `name` serves and that those it excludes do not. Written aside, then renamed.

    Agents of two cards may become ready at the same moment, so the writers take turns.
    """
    with path.with_suffix(".lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        names = [other for other in serving(path) if other != name and other not in conflicts]
        aside = path.with_suffix(".new")
        with aside.open("w") as file:
            # Newest first: an agent that left the roster and came back must not stand before it.
            json.dump({"schema": 1, "serving": [name, *names]}, file)
            file.flush()
            os.fsync(file.fileno())
        aside.rename(path)


@contextmanager
def switching(name: str, path: Path | None = None) -> Iterator[None]:
    """Hold the lock of the one switch at a time. The kernel frees it when the process dies."""
    path = path or LOCK
    try:
        path.parent.mkdir(mode=0o755, exist_ok=True)
        file = path.open("a+")
    except OSError as error:
        raise RoundhouseError("lock", f"{path} cannot be opened ({error.strerror}): run this as root.") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise RoundhouseError("lock", f"another switch is running ({file.read().strip()}): try again.") from None
        file.truncate(0)
        file.write(f"to {name}, pid {os.getpid()}")
        file.flush()
        yield
