#!/usr/bin/env python3
"""Print the table of the stand-in hosts of molecule/real-hosts, from the record of a run.

The record is tests/fixtures/real-hosts.json, which `REAL_HOSTS_RECORD=FILE molecule test --scenario-name real-hosts`
writes.
"""

from __future__ import annotations

import json
from pathlib import Path

import markdown_table

RECORD = Path(__file__).resolve().parents[1] / "tests/fixtures/real-hosts.json"
HEADS = ("start", "outcome", "first run", "reboots", "second run", "real programs in the run")


def cells(row: dict) -> list[str]:
    """Return the cells of a row of the record."""
    refused = row["outcome"] == "refused"
    second = "" if refused else f"changed={row['second']}"
    real = row.get("real") or "facts of the host only"
    # The remedy follows the first colon.
    serves = f"serves; {row['agents'].replace(' ', ', ')} answer" if row.get("agents") else "serves"
    outcome = f"refused: {row['text'].partition(': ')[0]}" if refused else serves
    return [row["start"], outcome, f"{row['seconds']} s", str(row["reboots"]), second, real]


if __name__ == "__main__":
    rows = [cells(row) for row in json.loads(RECORD.read_text())]
    print(markdown_table.lines(HEADS, rows))
