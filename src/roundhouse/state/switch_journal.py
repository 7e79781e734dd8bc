"""Keep the running switch on disk, for the recovery from a killed one and for a second caller.

The file exists from before the first stop of an agent until the switch is committed or rolled back. It does not list
what happened in between, because the units show that. So it is valid whenever its writer is killed.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple, TypedDict, cast

from ..util import files, json_file
from . import serving
from .note import Note

SCHEMA = 1
# The least time between two writes of progress, which is for a second caller and needs no fsync.
_NOTE_SECONDS = 0.5


class Killed(NamedTuple):
    """The record of a killed switch: its agent, and the agents that were active when it began."""

    to: str
    previous: list[str]
    phase: str
    began: float  # seconds since the epoch
    stages: dict[str, float]  # seconds of the phases that it had finished
    code: str | None = None  # of the error that it was rolling back from


class Switching(NamedTuple):
    """A running switch, for a second caller."""

    to: str
    began: float  # seconds since the epoch
    phase: str
    note: str
    step: str = ""
    percent: int | None = None
    pid: int | None = None

    def text(self, now: float | None = None) -> str:
        """Return it in one line: `switching to dev since 12 s, start: loading weights 42 %, about 12 s left`."""
        seconds = max(0.0, (time.time() if now is None else now) - self.began)  # the clock may have been set back
        note = f": {self.note}" if self.note else ""
        if self.phase == "rollback":
            return f"rolling back the switch to {self.to}, which began {seconds:.0f} s ago{note}"
        return f"switching to {self.to} since {seconds:.0f} s, {self.phase}{note}"

    def milestone(self) -> tuple[str, str, str, int | None]:
        """Return the values of interest: no seconds, no counts, percents in steps of ten."""
        return (self.to, self.phase, self.step, None if self.percent is None else self.percent // 10)


class _Entry(TypedDict):
    schema: int
    to: str
    previous: list[str]
    phase: str
    note: str
    pid: int
    began: float
    stages: dict[str, float]


class Entry(_Entry, total=False):
    """The file: the fields of Killed and of Switching."""

    step: str
    percent: int | None
    code: str | None


class Journal:
    """The entry of one switch, and its writer."""

    def __init__(self, to: str, previous: list[str]) -> None:
        self.entry: Entry = {
            "schema": SCHEMA,
            "to": to,
            "previous": previous,
            "phase": "check",
            "note": "",
            "step": "",
            "percent": None,
            "code": None,
            "pid": os.getpid(),
            "began": time.time(),
            "stages": {},
        }
        self._noted = 0.0
        self.begun = False

    def begin(self) -> None:
        """Write the first entry: from now on the switch may be killed. Raises RoundhouseError on a full disk."""
        serving.make_folder()
        self.begun = True  # before the write, so that a signal after it still causes a rollback
        try:
            files.remove_leftovers(serving.FOLDER)
            json_file.write(path(), self.entry)
        except OSError as error:
            self.begun = False
            raise serving.unwritable(serving.FOLDER, error) from None

    def phase(self, name: str, stages: dict[str, float], code: str | None = None) -> None:
        """Write the phase that begins, and the error before it. A disk that is full by now does no harm."""
        self.entry |= {"phase": name, "note": "", "step": "", "percent": None, "stages": dict(stages), "code": code}
        self._rewrite(durable=True)

    def note(self, note: Note) -> None:
        """Write the progress of the phase."""
        if time.monotonic() - self._noted >= _NOTE_SECONDS:
            self._noted = time.monotonic()
            self.entry |= {"note": note.text, "step": note.step, "percent": note.percent}
            self._rewrite(durable=False)

    def end(self) -> None:
        """Remove the entry: the switch is committed or rolled back. Raises OSError."""
        remove()
        self.begun = False

    def _rewrite(self, *, durable: bool) -> None:
        if not self.begun:
            return
        try:
            json_file.write(path(), self.entry, durable=durable)
        except OSError:  # the entry of an earlier phase has the same agents
            self.entry["note"] = ""


def path() -> Path:
    """Return the file."""
    return serving.FOLDER / "switch.json"


def remove() -> None:
    """Remove the entry, also one that a power loss left empty. Raises OSError."""
    files.remove(path())


def is_written() -> bool:
    """Return whether a switch runs or was killed; this needs no root."""
    return path().exists()


def is_left() -> bool:
    """Return whether a killed switch left its entry, in any state; this needs no root."""
    return is_written() and not serving.is_switching()


def killed() -> Killed | None:
    """Return the record of a killed switch, None without one. Only the holder of the lock can know that."""
    entry = _read()
    if entry is None:
        return None
    return Killed(
        to=entry["to"],
        previous=entry["previous"],
        phase=entry["phase"],
        began=entry["began"],
        stages=entry["stages"],
        code=entry.get("code"),
    )


def running() -> Switching | None:
    """Return the running switch, None without one or before it has passed its checks."""
    entry = _read() if serving.is_switching() else None
    if entry is None:
        return None
    return Switching(
        to=entry["to"],
        began=entry["began"],
        phase=entry["phase"],
        note=entry["note"],
        step=entry.get("step", ""),
        percent=entry.get("percent"),
        pid=entry["pid"],
    )


def describe() -> str:
    """Return the agent and the progress of the running switch, for a person."""
    entry = _read()
    if entry is None:
        return "it checks the agent"
    seconds = max(0.0, time.time() - entry["began"])  # the clock may have been set back
    note = f": {entry['note']}" if entry["note"] else ""
    return f"to {entry['to']}, pid {entry['pid']}, since {seconds:.0f} s, now {entry['phase']}{note}"


def _read() -> Entry | None:
    entry = json_file.read(path(), SCHEMA)
    return cast("Entry", entry) if entry.keys() >= _Entry.__required_keys__ else None
