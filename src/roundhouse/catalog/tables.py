"""Read a table that is written as text: columns are split by `|`, and the first line names them."""

from __future__ import annotations


def rows(table: str) -> list[dict[str, str]]:
    """Return a dict for each line, by the names of the first one; an empty cell is an empty text."""
    header, *lines = ([cell.strip() for cell in line.split("|")] for line in table.strip().splitlines())
    return [dict(zip(header, line, strict=True)) for line in lines]
