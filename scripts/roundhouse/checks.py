"""What is known to fail, refused before anything is stopped."""

from __future__ import annotations

from pathlib import Path

from . import card, ports, units, weights
from .errors import RoundhouseError
from .plan import Agent


def check(agent: Agent, leaving: list[str]) -> None:
    """Raise RoundhouseError when the agent cannot start: its unit, its model, its port, its card's memory.

    `leaving` are the units that will have left before the agent starts: their ports and their memory will be free.
    """
    units.show(agent["unit"])
    found = weights.problem(Path(agent["model_path"]))
    if found:
        raise RoundhouseError("model", f"{found}: {weights.cure(agent['model'], agent.get('quantise'))}")
    holder = ports.holder(agent["port"])
    if holder and holder.unit not in (agent["unit"], *leaving):
        raise RoundhouseError(
            "port",
            f"port {agent['port']} of {agent['name']} is taken by {holder}: "
            "stop that, or give the agent another port in the roster.",
        )
    card.refuse_strangers(agent, leaving)
