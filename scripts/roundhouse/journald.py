"""systemd's journal as entries: what a unit's processes, systemd and the kernel said, and when.

Every question has a limit of lines: a journal may hold years.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any, NamedTuple


class Entry(NamedTuple):
    """One line of the journal. `at` are seconds since the epoch, `fields` what else was asked for."""

    at: float
    text: str
    fields: dict[str, str]


def entries(*matches: str, lines: int, fields: tuple[str, ...] = ()) -> list[Entry]:
    """Return the last `lines` entries that match, oldest first; [] where there is no journal or it may not be read.

    `matches` are journalctl's own: FIELD=VALUE, alternatives of one field side by side, or options such as --dmesg.
    """
    if shutil.which("journalctl") is None:
        return []
    command = ["journalctl", "--output", "json", "--no-pager", "--quiet", "--lines", str(lines)]
    command += ["--output-fields", ",".join(("MESSAGE", *fields)), *matches]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    found = [_entry(json.loads(line), fields) for line in done.stdout.splitlines() if line.startswith("{")]
    return sorted(found, key=lambda each: each.at)  # --grep turns the order round


def of_start(invocation: str, lines: int) -> list[str]:
    """Return what systemd said of one start of a unit, then what the unit's processes said, each oldest first.

    The processes' last line is the last of all: it is what a person would look at first.
    """
    said = entries(f"INVOCATION_ID={invocation}", lines=lines)
    own = entries(f"_SYSTEMD_INVOCATION_ID={invocation}", lines=lines)
    return [each.text for each in (*said, *own)]


def _entry(told: dict[str, Any], fields: tuple[str, ...]) -> Entry:
    return Entry(
        int(told["__REALTIME_TIMESTAMP"]) / 1e6,
        _text(told.get("MESSAGE")),
        {name: _text(told[name]) for name in fields if told.get(name) is not None},
    )


def _text(value: Any) -> str:
    """Return a field's text. journalctl gives one that is no plain text as a list of bytes, one given twice as both."""
    if isinstance(value, list):
        if all(isinstance(each, int) for each in value):
            return bytes(value).decode(errors="replace")
        return _text(value[-1])
    return "" if value is None else str(value)
