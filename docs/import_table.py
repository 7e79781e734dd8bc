#!/usr/bin/env python3
"""Print the report of `roundhouse import` on docs/docker-compose-architect.yml: `docs/import_table.py [roster]`."""

from __future__ import annotations

import sys

from roundhouse.migrate import compose_file, roster_file
from roundhouse.migrate.agent import import_source
from roundhouse.paths import CHECKOUT as ROOT

FILE = ROOT / "docs/docker-compose-architect.yml"


def main() -> None:
    """Print the lines as one Markdown table, or the roster."""
    sources, _ = compose_file.sources(FILE)
    agents, lines = roster_file.combine([import_source(source) for source in sources])
    if "roster" in sys.argv:
        print(roster_file.yaml(agents, []), end="")
        return
    print("| line | setting | outcome | reason |")
    print("|---|---|---|---|")
    for line in lines:
        became = f"`{line.became}`" if line.became else line.outcome
        print(f"| {line.number or '-'} | `{line.text}` | {became} | {line.why} |")


if __name__ == "__main__":
    main()
