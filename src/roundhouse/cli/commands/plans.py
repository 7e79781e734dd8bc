"""`plans`: the plans that were deployed."""

from __future__ import annotations

import argparse
from typing import Any

from ...util import console

HELP = "list the plans that were deployed, the newest last: engine, models, since when"


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Show them."""
    from ...plan import plan_sets

    rows = plan_sets.rows()
    if not args.json:
        print(console.table(plan_sets.COLUMNS, rows) if rows else "no plan was deployed here")
    return {"plans": rows}
