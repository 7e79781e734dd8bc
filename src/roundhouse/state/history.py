"""The switches of this host: from, to, seconds of each phase, outcome and cause. A bounded file, newest last."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import NamedTuple

from ..util import files
from . import serving

KEEP = 200
COLUMNS = ("when", "from", "to", "outcome", "seconds", "cut", "cause")
_CAUSE_CHARACTERS = 200

# The outcomes, in the words of the file and of `history --json`.
DONE = "done"  # the wanted agent serves
ROLLED_BACK = "rolled_back"  # it failed, and the previous agent serves again
ROLLBACK_FAILED = "rollback_failed"  # it failed, and so did the rollback
REFUSED = "refused"  # nothing was touched
FAILED_OVER = "failed_over"  # systemd gave `from` up, and `to` takes its place; its own entry follows
KILLED = "killed"  # the switch ended half-way; the next one finished it or rolled it back

# Former words of the file. A failover depends on them, so they are read as today's.
_FORMER = {"back": ROLLED_BACK, "lost": ROLLBACK_FAILED, "relieved": FAILED_OVER}


class Entry(NamedTuple):
    """One switch. `began` are seconds since the epoch, `stages` the seconds of each phase."""

    began: float
    previous: list[str]
    to: str
    outcome: str
    stages: dict[str, float]
    cut: int  # requests that did not end within the drain
    cause: str | None
    code: str | None = None  # of the error whose sentence `cause` is; None in entries of older versions
    cause_code: str | None = None  # of the cause that doctor knows the error by


def path() -> Path:
    """Return the file: one JSON object a line."""
    return serving.FOLDER / "history.jsonl"


def load() -> list[Entry]:
    """Return the entries, oldest first; a line that cannot be understood is left out."""
    try:
        lines = path().read_text().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            entry = Entry(**json.loads(line))
            found.append(entry._replace(outcome=_FORMER.get(entry.outcome, entry.outcome)))
        except (ValueError, TypeError):  # another version's
            continue
    return found


def add(entry: Entry) -> None:
    """Add an entry and keep the newest KEEP. Raises OSError."""
    serving.make_folder()
    cause = entry.cause if entry.cause is None else entry.cause[:_CAUSE_CHARACTERS]
    kept = [*load(), entry._replace(cause=cause)][-KEEP:]
    files.write(path(), "".join(json.dumps(each._asdict()) + "\n" for each in kept), durable=False)


def table(entries: list[Entry]) -> list[dict[str, str | int]]:
    """Return the entries as rows of COLUMNS, for a person."""
    return [
        {
            "when": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.began)),
            "from": ", ".join(each.previous) or "-",
            "to": each.to,
            "outcome": each.outcome.replace("_", " "),
            "seconds": ", ".join(f"{name} {value:g}" for name, value in each.stages.items()) or "-",
            "cut": each.cut,
            "cause": each.cause or "-",
        }
        for each in entries
    ]
