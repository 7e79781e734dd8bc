"""Print a Markdown table."""

from __future__ import annotations

from collections.abc import Iterable


def lines(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return the table as text, with a line for each row; a `|` in a cell is escaped."""
    heads = list(heads)
    shown = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    shown += [f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join(shown)
