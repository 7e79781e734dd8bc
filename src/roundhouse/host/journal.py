"""Read systemd's journal. No other module runs journalctl."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from ..errors import RoundhouseError
from ..util import process
from . import systemctl


class Entry(NamedTuple):
    """One entry of the journal. `at` is in seconds since the epoch; `fields` are the requested extra fields."""

    at: float
    text: str
    fields: dict[str, str]


def entries(*matches: str, lines: int | None, fields: tuple[str, ...] = ()) -> list[Entry]:
    """Return the last `lines` matching entries (None: all), oldest first; [] without a readable journal.

    `matches` are arguments of journalctl: FIELD=VALUE, alternatives of one field in a row, or options such as --dmesg.
    """
    if shutil.which("journalctl") is None:
        return []
    # Without --all, fields above 4096 bytes are null in JSON.
    command = ["journalctl", "--output", "json", "--all", "--no-pager", "--quiet"]
    command += ["--lines", "all" if lines is None else str(lines)]
    command += ["--output-fields", ",".join(("MESSAGE", *fields)), *matches]
    done = process.run(command)
    found = [_entry(json.loads(line), fields) for line in done.stdout.splitlines() if line.startswith("{")]
    return sorted(found, key=lambda each: each.at)  # --grep reverses the order


def log(unit: str, lines: int) -> list[str]:
    """Return the last lines of the unit's log, oldest first."""
    return _lines(entries("--unit", unit, lines=lines))


def log_of_this_start(unit: str) -> list[str]:
    """Return the log lines of the unit's processes since its last start, oldest first."""
    invocation = systemctl.properties([unit], "InvocationID").get(unit, {}).get("InvocationID")
    return _lines(entries(f"_SYSTEMD_INVOCATION_ID={invocation}", lines=None)) if invocation else []


def of_start(invocation: str, lines: int) -> list[str]:
    """Return systemd's log entries about one start of a unit, then those of its processes, each oldest first.

    The last entry of the processes is at the end, because a person reads it first.
    """
    by_systemd = entries(f"INVOCATION_ID={invocation}", lines=lines)
    by_unit = entries(f"_SYSTEMD_INVOCATION_ID={invocation}", lines=lines)
    return [each.text for each in (*by_systemd, *by_unit)]


def print_log(unit: str, lines: int, *, follow: bool) -> None:
    """Print the unit's log with journalctl, in its format. Raises RoundhouseError if journalctl fails."""
    command = ["journalctl", "--unit", unit, "--lines", str(lines), "--no-pager", *(["--follow"] if follow else [])]
    if subprocess.run(command, check=False).returncode != 0:
        raise RoundhouseError(
            "journal_unreadable", "journalctl cannot read the log of {unit}.", "Run the command as root.", unit=unit
        )


class Follower:
    """Read the log of one start while it is written."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._incomplete = b""

    def lines(self) -> list[str]:
        """Return the new lines since the last call, without waiting."""
        read = self._process.stdout.read() or b"" if self._process.stdout else b""
        *complete, self._incomplete = (self._incomplete + read).split(b"\n")
        return [line.decode(errors="replace") for line in complete]


@contextmanager
def following(invocation: str) -> Iterator[Follower]:
    """Yield a follower of the log of one start, from its beginning."""
    command = ["journalctl", "--output=cat", "--no-pager", "--follow", "--lines=all"]
    command.append(f"_SYSTEMD_INVOCATION_ID={invocation}")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        if process.stdout is not None:
            os.set_blocking(process.stdout.fileno(), False)
        try:
            yield Follower(process)
        finally:
            process.terminate()


def _lines(found: list[Entry]) -> list[str]:
    return [line for each in found for line in each.text.split("\n")]


def _entry(row: dict[str, Any], fields: tuple[str, ...]) -> Entry:
    return Entry(
        int(row["__REALTIME_TIMESTAMP"]) / 1e6,
        _text(row.get("MESSAGE")),
        {name: _text(row[name]) for name in fields if row.get(name) is not None},
    )


def _text(value: object) -> str:
    """Return a field's text. journalctl prints binary fields as a list of bytes, and repeated fields as a list."""
    if isinstance(value, list):
        if all(isinstance(each, int) for each in value):
            return bytes(value).decode(errors="replace")
        return _text(value[-1])
    return "" if value is None else str(value)
