"""Keep the history of this host in a bounded file, newest last: its switches and the crashes of its engines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from ..util import files, lock, timestamps
from . import serving

KEEP = 200  # switches
KEEP_CRASHES = 50  # a crash loop must not push the switches out, because a failover reads them
COLUMNS = ("when", "from", "to", "outcome", "seconds", "cut", "cause")
DAY_SECONDS = 24 * 3600.0  # how long status and doctor report a crash or a failover
_CAUSE_CHARACTERS = 200

# The outcomes, as the file and `history --json` have them.
DONE = "done"  # The new agent is active.
ROLLED_BACK = "rolled_back"  # The switch failed, and the previous agent is active again.
ROLLBACK_FAILED = "rollback_failed"  # The switch failed, and so did its rollback.
REFUSED = "refused"  # The switch failed its checks, and no agent was stopped.
FAILED_OVER = "failed_over"  # systemd gave `from` up. The start of `to` in its place is an entry of its own.
KILLED = "killed"  # The switch was killed. The next one completed it or rolled it back.
INTERRUPTED = "interrupted"  # Ctrl-C, SIGTERM or SIGHUP ended a switch, a deployment, a resume or a stop.
CRASHED = "crashed"  # The engine of `to` ended by itself.

# Former names in the file. A failover depends on them, so they are read as the current ones.
_FORMER = {"back": ROLLED_BACK, "lost": ROLLBACK_FAILED, "relieved": FAILED_OVER}
# The phase of a crash: seconds from the end of the engine until its unit had it ready again.
RESTART = "restart"


class Entry(NamedTuple):
    """One switch or crash. `began` are seconds since the epoch, `stages` the seconds of each phase.

    A crash has its agent as `previous` and as `to`. Its phase RESTART is absent until its unit has it ready again.
    """

    began: float
    previous: list[str]
    to: str  # empty for a stop
    outcome: str
    stages: dict[str, float]
    cut: int  # requests that did not end within the drain
    cause: str | None
    code: str | None = None  # of the error whose sentence `cause` is; None in entries of older versions
    cause_code: str | None = None  # of the cause in the table of doctor

    def as_json(self) -> dict[str, Any]:
        """Return the entry for a program, its time in UTC."""
        return {**self._asdict(), "began": timestamps.utc(self.began)}


def path() -> Path:
    """Return the file: one JSON object a line."""
    return serving.FOLDER / "history.jsonl"


def _lock() -> Path:
    """Return the lock of the writers: a switch, a failover and the units' hooks."""
    return serving.FOLDER / "history.lock"


def load() -> list[Entry]:
    """Return the entries, oldest first; a line of an unknown format is left out."""
    try:
        lines = path().read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            entry = Entry(**json.loads(line))
        except (ValueError, TypeError):  # written by another version, or damaged
            continue
        if _is_whole(entry):
            found.append(entry._replace(outcome=_FORMER.get(entry.outcome, entry.outcome)))
    return found


def _is_whole(entry: Entry) -> bool:
    """Return whether a damaged file did not change the types that a switch reads."""
    kinds = ((entry.began, (int, float)), (entry.previous, list), (entry.to, str), (entry.outcome, str))
    stages = isinstance(entry.stages, dict) and all(isinstance(each, (int, float)) for each in entry.stages.values())
    return stages and all(isinstance(value, kind) for value, kind in kinds)


def add(entry: Entry) -> None:
    """Add an entry, and keep the newest KEEP switches and KEEP_CRASHES crashes. Raises OSError, RoundhouseError."""
    serving.make_folder()
    cause = entry.cause if entry.cause is None else entry.cause[:_CAUSE_CHARACTERS]
    with lock.exclusive(_lock()):
        _write([*load(), entry._replace(cause=cause)])


def note_restart(agent: str, at: float) -> None:
    """Note that a unit has its crashed engine ready again, `at` in seconds since the epoch. Raises OSError."""
    with lock.exclusive(_lock()):
        entries = load()
        ended = [index for index, each in enumerate(entries) if each.outcome == CRASHED and each.to == agent]
        if ended and RESTART not in (last := entries[ended[-1]]).stages:
            entries[ended[-1]] = last._replace(stages={RESTART: max(0.0, round(at - last.began, 1))})
            _write(entries)


def crashes(since: float, entries: list[Entry] | None = None) -> dict[str, list[Entry]]:
    """Return the crashes since a time (seconds since the epoch), by agent, oldest first."""
    found: dict[str, list[Entry]] = {}
    for each in load() if entries is None else entries:
        if each.outcome == CRASHED and each.began >= since:
            found.setdefault(each.to, []).append(each)
    return found


def table(entries: list[Entry]) -> list[dict[str, str | int]]:
    """Return the entries as rows of COLUMNS, for a person."""
    return [
        {
            "when": timestamps.local(each.began),
            "from": ", ".join(each.previous) or "-",
            "to": each.to or "-",
            "outcome": each.outcome.replace("_", " "),
            "seconds": ", ".join(f"{name} {value:g}" for name, value in each.stages.items()) or "-",
            "cut": each.cut,
            "cause": each.cause or "-",
        }
        for each in entries
    ]


def _write(entries: list[Entry]) -> None:
    crashed = [each for each in entries if each.outcome == CRASHED][-KEEP_CRASHES:]
    others = [each for each in entries if each.outcome != CRASHED][-KEEP:]
    kept = {id(each) for each in (*crashed, *others)}
    lines = [json.dumps(each._asdict()) for each in entries if id(each) in kept]  # in the order of the file
    files.write(path(), "".join(f"{line}\n" for line in lines))
