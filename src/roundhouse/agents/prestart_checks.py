"""Refuse a start that is known to fail, before any agent is stopped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import RoundhouseError
from ..host import systemd
from ..models import manifest, safetensors
from . import gpu_memory, ports

if TYPE_CHECKING:
    from roundhouse.schema.plan import Agent


def check(agent: Agent, stopping: list[str]) -> None:
    """Raise RoundhouseError if the agent cannot start: its unit, its model, its port, its GPU's memory.

    `stopping` are units that stop before the agent starts, so their ports and memory count as free.
    """
    systemd.show(agent["unit"])
    check_host(agent, stopping)


def check_host(agent: Agent, stopping: list[str]) -> None:
    """Check an agent whose unit is not in place yet: model, port, memory."""
    for model, path, recipe in safetensors.of(agent):
        if problem := safetensors.problem(path):
            raise RoundhouseError("model_incomplete", f"{problem}:", safetensors.remedy(model, recipe))
        if touched := _touched(path):
            raise RoundhouseError(
                "model_changed",
                "{file} changed since it was verified: its size or modification time differs.",
                "Run `roundhouse verify {model}`, which reads it again and reports damage.",
                file=str(touched),
                model=model,
            )
    holder = ports.holder(agent["engine_port"])
    if holder and not _is_own(holder, agent, stopping):
        raise RoundhouseError(
            "port_in_use",
            "Port {port} of {agent} is used by {holder}.",
            "Stop that process, or change agents[{agent}].port in the roster.",
            port=agent["engine_port"],
            agent=agent["name"],
            holder=str(holder),
        )
    gpu_memory.require_usable(agent)
    gpu_memory.require_memory(agent, stopping)


def _is_own(holder: ports.Holder, agent: Agent, stopping: list[str]) -> bool:
    """Return whether the agent's own unit, which a switch may restart, or one of `stopping` holds the port."""
    if holder.pid is None:  # while the agent is ready, no other process can listen on its port
        return systemd.show(agent["unit"]).state == "ready"
    return holder.unit in (agent["unit"], *stopping)


def _touched(folder: Path) -> Path | None:
    """Return a file of a pulled or quantized model that changed since it was hashed, without reading its content."""
    held = manifest.read(folder)
    bad = [file.path for file in held.files if not held.is_known_good(folder, file)] if held else []
    return folder / bad[0] if bad else None
