#!/usr/bin/env python3
"""Write rosters/ for common cards by `scripts/plan.py suggest`: `docs/rosters.py`; --check compares only."""

from __future__ import annotations

import sys
from pathlib import Path

from roundhouse.catalog import gpus
from roundhouse.cli import plan_question
from roundhouse.plan import suggest

FOLDER = Path(__file__).resolve().parents[1] / "rosters"
# A GB10's CUDA total, as the start logs of a DGX Spark state it.
_SPARK_GIB = 121.7
# File -> card, number of cards.
HOSTS = {
    "12gb.yml": ("RTX 3060", 1),
    "16gb.yml": ("RTX 5060 Ti 16GB", 1),
    "2x16gb.yml": ("RTX 5060 Ti 16GB", 2),
    "24gb.yml": ("RTX 3090", 1),
    "32gb.yml": ("RTX 5090", 1),
    "48gb.yml": ("L40S", 1),
    "96gb.yml": ("RTX PRO 6000", 1),
    "gb10.yml": ("DGX Spark", 1),
}


def made() -> dict[str, str]:
    """Return the content of each roster."""
    found = {}
    for name, (card_name, count) in HOSTS.items():
        card = gpus.find(card_name, None)
        total = (card and gpus.total_gib(card)) or _SPARK_GIB
        host = plan_question.imagined(card, count, total_gib=total)
        agents = suggest.roster(suggest.suggestions(host), suggest.share(host))
        words = f"{count} x {card_name}" if count > 1 else card_name
        found[name] = suggest.text(agents, f"{words} of {total:g} GiB")
    return found


def main() -> int:
    """Write or check the files, and return the exit status."""
    outdated = [name for name, text in made().items() if not _same(FOLDER / name, text)]
    if "--check" not in sys.argv:
        for name in outdated:
            (FOLDER / name).write_text(made()[name])
    print(f"{'outdated' if '--check' in sys.argv else 'written'}: {', '.join(outdated) or 'none'}")
    return 1 if outdated and "--check" in sys.argv else 0


def _same(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


if __name__ == "__main__":
    raise SystemExit(main())
