"""The clients' files in examples/: what `roundhouse client-config` prints for the shipped roster on the users' card."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from roundhouse.catalog import gpus
from roundhouse.cli import plan as cli_plan
from roundhouse.cli import plan_options, plan_question
from roundhouse.cli.commands.client_config import LOOPBACK
from roundhouse.gateway import client_config
from roundhouse.gateway.client_config import Listener
from roundhouse.paths import CHECKOUT as ROOT
from roundhouse.plan import build

CARD = "RTX 5060 Ti 16GB"
# A client -> the one agent that its file is of; None for all of them.
CLIENTS = {"continue": None, "vscode": None, "aider": "dev"}


def made() -> Iterator[tuple[Path, str]]:
    """Yield each file's path and text."""
    host = plan_question.imagined(gpus.find(CARD), 1)
    plan = build.build(cli_plan.read(plan_options.ROSTER), cli_plan.SETTINGS, host)
    for client, agent in CLIENTS.items():
        found = client_config.endpoints(plan, Listener("http", keyed=False), LOOPBACK, agent)
        for name, text in client_config.CLIENTS[client].files(found).items():
            yield ROOT / "examples" / client / name, text
