"""Keep the record of active agents, which a reboot starts again, and the lock of a switch."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import RoundhouseError, unreadable
from ..util import files, json_file, lock
from ..util.process import BOOT_ID

FOLDER = Path("/var/lib/roundhouse/state")
LOCK = Path("/run/roundhouse/switch.lock")
RUNNING = "switch_running"  # the error while another process holds the lock.
UNWRITABLE = ("state_disk_full", "state_read_only", "state_unwritable")  # the errors of unwritable().
# One file per agent, because to remove a file needs no disk space.
_STOPPED = "stopped-"
_LOCK = "serving.lock"
_LOCK_POLL_SECONDS = 0.2
# is_switching() holds the lock for a moment too, so one attempt is not enough.
_LOCK_TRY_SECONDS = 0.5


def serving() -> list[str]:
    """Return the agents that were committed last, newest first; [] without a file."""
    path = FOLDER / "serving.json"
    if not path.exists():
        return []
    try:
        return [str(name) for name in json.loads(path.read_text())["serving"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise unreadable("serving_unreadable", path, error, "Delete it and switch again.") from None


def record(name: str, conflicts: list[str]) -> None:
    """Record that `name` is active and that the agents it excludes are not."""
    with prepared([(name, conflicts)]) as commit:
        commit()


@contextlib.contextmanager
def prepared(started: list[tuple[str, list[str]]]) -> Iterator[Callable[[], None]]:
    """Write the record beside its place, and yield the function that puts it there, which needs no disk space.

    `started` are the names that become active, each with the names that it excludes. Agents of two GPUs may become
    ready at the same moment, so each writer holds the lock.
    """
    path = FOLDER / "serving.json"
    before = serving()
    aside = files.stage(path, json.dumps(_serving(started, before)))

    def commit() -> None:
        with lock.exclusive(FOLDER / _LOCK):
            now = serving()
            if now == before:
                files.place(aside, path)
            else:
                json_file.write(path, _serving(started, now))
            forget_stopped([name for name, _ in started])

    try:
        yield commit
    finally:
        with contextlib.suppress(OSError):  # on a disk that became read-only; the next writer removes it
            aside.unlink(missing_ok=True)


def stopped() -> list[str]:
    """Return the agents that were stopped since the host's boot and were not active since."""
    boot = BOOT_ID.read_text()
    return [path.name.removeprefix(_STOPPED) for path in FOLDER.glob(f"{_STOPPED}*") if path.read_text() == boot]


def note_stopped(names: list[str]) -> None:
    """Note that agents are stopped, until they are active again or the host boots."""
    make_folder()
    for name in names:
        files.write(FOLDER / f"{_STOPPED}{name}", BOOT_ID.read_text(), durable=False)


def forget_stopped(names: list[str]) -> None:
    """Take the note of note_stopped() back: the agents were not stopped."""
    for name in names:
        (FOLDER / f"{_STOPPED}{name}").unlink(missing_ok=True)


def make_folder() -> None:
    """Create the folder, which is missing before the first switch. Raises RoundhouseError."""
    try:
        files.make_folder(FOLDER)
    except OSError as error:
        raise unwritable(FOLDER, error) from None


def own_folder() -> None:
    """Create the folder, and take it over from the engines' account. Raises RoundhouseError.

    Units of earlier versions give that account the folder when they start, also after a rollback to their plan.
    """
    make_folder()
    try:
        files.take_over(FOLDER)
    except OSError as error:
        raise unwritable(FOLDER, error) from None


def unwritable(place: Path, error: OSError) -> RoundhouseError:
    """Return the error of a file that cannot be written; its folder is `place`, unless the error names the file."""
    folder = str(Path(error.filename).parent) if isinstance(error.filename, str) else str(place)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        text, remedy = "Cannot write {place}: its disk is full.", "Free space (`df -h {place}`)."
        return RoundhouseError("state_disk_full", text, remedy, place=folder)
    reason, text = error.strerror or type(error).__name__, "Cannot write {place} ({reason})."
    if error.errno == errno.EROFS:
        remedy = "Read the kernel's reason (`dmesg`), then make its file system writable."
        return RoundhouseError("state_read_only", text, remedy, place=folder, reason=reason)
    return RoundhouseError("state_unwritable", text, "Run this as root.", place=folder, reason=reason)


@contextlib.contextmanager
def switching(describe: Callable[[], str], *, wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the switch lock. The kernel frees it when the process ends.

    If another process holds it, raise RoundhouseError with `describe()`. With `wait`, pass it the sentence and wait.
    """
    try:
        LOCK.parent.mkdir(mode=0o755, exist_ok=True)
        descriptor = lock.opened(LOCK)
    except OSError as error:
        raise RoundhouseError(
            "lock_unwritable",
            "Cannot open {path} ({reason}).",
            "Run this as root.",
            path=str(LOCK),
            reason=error.strerror or type(error).__name__,
        ) from None
    end = time.monotonic() + _LOCK_TRY_SECONDS
    try:
        while not lock.taken(descriptor):
            if time.monotonic() < end:
                time.sleep(_LOCK_POLL_SECONDS)
                continue
            sentence = f"another switch is running ({describe()})"
            if wait is None:
                text = f"{sentence[:1].upper()}{sentence[1:]}."
                raise RoundhouseError(RUNNING, text, "Try again, or wait for it with --wait.")
            wait(sentence)
            time.sleep(_LOCK_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def is_switching() -> bool:
    """Return whether a switch runs now; this needs no root."""
    return lock.is_held(LOCK)


def _serving(started: list[tuple[str, list[str]]], before: list[str]) -> dict[str, object]:
    names = before
    for name, conflicts in started:
        # Newest first: an agent that was removed from the roster and added again must not come before it.
        names = [name, *(each for each in names if each != name and each not in conflicts)]
    return {"schema": 1, "serving": names}
