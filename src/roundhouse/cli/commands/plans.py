"""`plans`: list the deployed plans."""

from __future__ import annotations

import argparse

from ...util import console, timestamps
from ..command import Answer


def run(args: argparse.Namespace) -> Answer:
    """List them."""
    from ...plan import plan_sets

    rows = plan_sets.rows()
    shown = [{**row, "since": timestamps.local(timestamps.of_utc(row["since"]))} for row in rows]
    return {"plans": rows}, console.table(plan_sets.COLUMNS, shown) if rows else "No plan was deployed on this host."
