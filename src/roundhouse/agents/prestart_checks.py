"""What is known to fail, refused before anything is stopped."""

from __future__ import annotations

from pathlib import Path

from ..errors import RoundhouseError
from ..host import systemd
from ..models import manifest, safetensors
from ..plan.deployed import Agent
from . import gpu_memory, ports


def check(agent: Agent, leaving: list[str]) -> None:
    """Raise RoundhouseError when the agent cannot start: its unit, its model, its port, its card's memory.

    `leaving` are the units that will have left before the agent starts: their ports and their memory will be free.
    """
    systemd.show(agent["unit"])
    check_host(agent, leaving)


def check_host(agent: Agent, leaving: list[str]) -> None:
    """Do what `check` does for an agent whose unit is not in place yet."""
    for model, path, recipe in safetensors.of(agent):
        if found := safetensors.problem(path):
            raise RoundhouseError("model", f"{found}: {safetensors.cure(model, recipe)}")
        if touched := _touched(path):
            raise RoundhouseError(
                "model",
                f"{touched} is not as it was verified (another length or time of change): `roundhouse verify "
                f"{model}` reads it again and says whether it is whole.",
            )
    holder = ports.holder(agent["engine_port"])
    if holder and holder.unit not in (agent["unit"], *leaving):
        raise RoundhouseError(
            "port",
            f"port {agent['engine_port']} of {agent['name']} is taken by {holder}: "
            "stop that, or give the agent another port in the roster.",
        )
    gpu_memory.refuse_strangers(agent, leaving)


def _touched(folder: Path) -> Path | None:
    """Return a file of a pulled or quantized model that was changed since it was hashed; reads no content."""
    held = manifest.read(folder)
    bad = [file.path for file in held.files if not held.is_known_good(folder, file)] if held else []
    return folder / bad[0] if bad else None
