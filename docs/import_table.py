#!/usr/bin/env python3
"""Print what `roundhouse import` says of docs/docker-compose-architect.yml: `docs/import_table.py [roster]`."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
from roundhouse import import_agent, import_compose, import_roster

FILE = ROOT / "docs/docker-compose-architect.yml"


def main() -> None:
    """Print the lines as one Markdown table, or the roster."""
    sources, _ = import_compose.sources(FILE)
    made = import_roster.together([import_agent.make(source) for source in sources])
    if "roster" in sys.argv:
        print(import_roster.yaml([agent for agent, _ in made], []), end="")
        return
    print("| line | it says | here | why |")
    print("|---|---|---|---|")
    for line in import_roster.lines_of(made):
        became = f"`{line.became}`" if line.became else line.fate
        print(f"| {line.number or '-'} | `{line.text}` | {became} | {line.why} |")


if __name__ == "__main__":
    main()
