"""The running switch on disk: so that whoever comes after a killed one knows what it was about, and a second caller
how far it is.

The file is there from before anything is stopped until the switch is committed or undone. What happened in between is
not in it: that is seen on the units. So it is right at any moment at which its writer is killed.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

from . import serving

SCHEMA = 1
# A sentence about progress is written no more often than this; it is for a second caller, and costs no fsync.
_NOTE_SECONDS = 0.5


class Left(NamedTuple):
    """What a switch that was killed leaves behind: where it led, and who served when it began."""

    to: str
    previous: list[str]
    phase: str
    began: float  # seconds since the epoch
    stages: dict[str, float]  # seconds of the phases that it had finished


_NAMES = {*Left._fields, "note", "pid"}


class Journal:
    """The entry of one switch, and its writer."""

    def __init__(self, to: str, previous: list[str]) -> None:
        self.entry: dict[str, Any] = {
            "schema": SCHEMA,
            "to": to,
            "previous": previous,
            "phase": "check",
            "note": "",
            "pid": os.getpid(),
            "began": time.time(),
            "stages": {},
        }
        self._noted = 0.0
        self._begun = False

    def begin(self) -> None:
        """Write it for the first time: from here on the switch may be killed. Raises RoundhouseError on a full disk."""
        serving.make_folder()
        try:
            serving.tidy()
            serving.write(path(), self.entry)
        except OSError as error:
            raise serving.unwritable(serving.FOLDER, error) from None
        self._begun = True

    def phase(self, name: str, stages: dict[str, float]) -> None:
        """Say which phase begins. A disk that is full by now does not matter: the units tell the rest."""
        self.entry |= {"phase": name, "note": "", "stages": dict(stages)}
        self._rewrite()

    def note(self, text: str) -> None:
        """Say how far the phase is."""
        if time.monotonic() - self._noted >= _NOTE_SECONDS:
            self._noted = time.monotonic()
            self.entry["note"] = text
            self._rewrite()

    def end(self) -> None:
        """Take it away: the switch is committed or undone."""
        path().unlink(missing_ok=True)
        self._begun = False

    def _rewrite(self) -> None:
        if not self._begun:
            return
        try:
            serving.write(path(), self.entry, durable=False)
        except OSError:  # the entry of an earlier phase says the same about where from and where to
            self.entry["note"] = ""


def path() -> Path:
    """Return the file."""
    return serving.FOLDER / "switch.json"


def left() -> Left | None:
    """Return what a killed switch left, None when there is none. For who holds the lock: nobody else writes it."""
    entry = _read()
    return Left(**{name: entry[name] for name in Left._fields}) if entry else None


def told() -> str:
    """Return who is switching and how far it is, for a person."""
    entry = _read()
    if entry is None:
        return "it has just begun, or only looks"
    seconds = time.time() - entry["began"]
    note = f": {entry['note']}" if entry["note"] else ""
    return f"to {entry['to']}, pid {entry['pid']}, since {seconds:.0f} s, now {entry['phase']}{note}"


def _read() -> dict[str, Any] | None:
    try:
        entry = json.loads(path().read_text())
    except (FileNotFoundError, ValueError):  # it is renamed into place whole, so this is another version's or nobody's
        return None
    whole = isinstance(entry, dict) and entry.get("schema") == SCHEMA and entry.keys() >= _NAMES
    return entry if whole else None
