"""The clients' files in examples/: what `roundhouse client-config` prints for the shipped roster on the users' card."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
from roundhouse import cards, clients, plan_roster, planner
from roundhouse.clients_cli import LOOPBACK
from roundhouse.door import Door

CARD = "RTX 5060 Ti"
# A client -> the one agent that its file is of; None for all of them.
CLIENTS = {"continue": None, "vscode": None, "aider": "dev"}


def made() -> Iterator[tuple[Path, str]]:
    """Yield each file's path and text."""
    host = plan_roster.imagined(cards.find(CARD), 1)
    plan = planner.build(plan_roster.read(plan_roster.ROSTER), plan_roster.SETTINGS, host)
    for client, agent in CLIENTS.items():
        found = clients.endpoints(plan, Door("http", keyed=False), LOOPBACK, agent)
        for name, text in clients.CLIENTS[client].files(found).items():
            yield ROOT / "examples" / client / name, text
