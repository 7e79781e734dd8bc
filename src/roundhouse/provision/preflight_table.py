"""Print the preflight table and the plan on the controller, in the columns that Ansible leaves in a terminal of 80."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..util import console

# Ansible indents the lines of a task's message by 8 columns in a terminal of 80.
WIDTH = 72
_HEADING = {"component": "component", "action": "action", "found": "found"}


def text(rows: Sequence[dict[str, Any]], columns: int = WIDTH) -> str:
    """Return the rows (Row.as_json) as text, with the reasons below the finding.

    `!` marks a problem that ends the run, `-` a warning.
    """
    first, second = (max(len(row[name]) for row in [_HEADING, *rows]) for name in ("component", "action"))
    lines = []
    for row in [_HEADING, *rows]:
        start = f"{row['component']:{first}}  {row['action']:{second}}  "
        below = [row["found"], *([row["reason"]] if row.get("reason") else [])]
        below += [f"! {problem}" for problem in row.get("problems", ())]
        below += [f"- {warning}" for warning in row.get("warnings", ())]
        room = columns - len(start)
        cell = [line for each in below for line in console.wrapped(each, room).splitlines()]
        lines += [f"{start if not number else '':{len(start)}}{line}".rstrip() for number, line in enumerate(cell)]
    return "\n".join(lines)


def fitted(lines: Sequence[str], columns: int = WIDTH) -> list[str]:
    """Return the lines wrapped at words. A line that fits without its indentation, as a card's bar, loses it."""
    whole = [line.strip() if len(line.strip()) <= columns < len(line) else line for line in lines]
    return [part for line in whole for part in console.wrapped(line, columns).split("\n")]
