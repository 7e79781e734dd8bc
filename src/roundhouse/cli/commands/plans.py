"""`plans`: the plans that were deployed."""

from __future__ import annotations

import argparse

from ...util import console, timestamps
from ..command import Answer

HELP = "list the plans that were deployed, the newest last: engine, models, since when"


def run(args: argparse.Namespace) -> Answer:
    """Show them."""
    from ...plan import plan_sets

    rows = plan_sets.rows()
    shown = [{**row, "since": timestamps.local(timestamps.of_utc(row["since"]))} for row in rows]
    return {"plans": rows}, console.table(plan_sets.COLUMNS, shown) if rows else "no plan was deployed here"
