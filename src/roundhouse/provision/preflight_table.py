"""Print the preflight table on the controller: component, action and finding, with the reasons below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..util import console

# Ansible indents the lines of a task's message by 8 columns in a terminal of 80.
WIDTH = 72
_HEADING = {"component": "component", "action": "action", "found": "found"}


def text(rows: Sequence[dict[str, Any]], columns: int = WIDTH) -> str:
    """Return the rows (Row.as_json) as text; `!` marks a problem that ends the run, `-` a warning."""
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
