"""Run scripts/plan.py for the shipped roster on common cards."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
# A name that plan.py takes, and how many cards.
CARDS = (("RTX 5060 Ti 16GB", 1), ("RTX 3090", 1), ("RTX 5060 Ti 16GB", 2), ("L40S", 1), ("H100 80GB", 1))


class Planned(NamedTuple):
    """A card's name as a document shows it, and the planned agents."""

    card: str
    agents: list[dict[str, Any]]


def planned() -> list[Planned]:
    """Return the plan of each card."""
    return [Planned(_shown(name, count), _agents(name, count)) for name, count in CARDS]


def _shown(name: str, count: int) -> str:
    return f"{count} x {name}" if count > 1 else name


def _agents(name: str, count: int) -> list[dict[str, Any]]:
    command = [sys.executable, "scripts/plan.py", "--gpu", name, "--gpus", str(count), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout)["agents"])
