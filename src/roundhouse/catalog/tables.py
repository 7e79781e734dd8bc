"""Read a table from text: `|` separates the columns, and the first line has their names."""

from __future__ import annotations

from ..util.pairs import pairs


def rows(table: str) -> list[dict[str, str]]:
    """Return a dict for each line, with the names of the first line; an empty cell is an empty string."""
    header, *lines = ([cell.strip() for cell in line.split("|")] for line in table.strip().splitlines())
    return [dict(pairs(header, line)) for line in lines]
