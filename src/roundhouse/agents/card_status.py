"""Report the GPUs of the agents for `status`: the holders of their memory, and those that cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..host import gpu, gpu_problem, gpu_process
from . import gpu_memory

if TYPE_CHECKING:
    from roundhouse.schema.cards import CardMemory, GpuFacts, Owner
    from roundhouse.schema.plan import Plan


def memory(plan: Plan, facts: GpuFacts | None = None) -> list[CardMemory]:
    """Return the holders of each GPU's memory: agents, the desktop, and other processes. [] without NVML."""
    wanted = {each for agent in plan["agents"] for each in gpu_memory.ids(agent)}
    names = {agent["unit"]: agent["name"] for agent in plan["agents"]}
    return [_memory(each, names) for each in gpu_memory.cards(wanted, gpu.facts() if facts is None else facts)]


def _memory(card: gpu_memory.Card, names: dict[str, str]) -> CardMemory:
    """Return the memory of a card by owner; the desktop's processes are one owner."""
    desktop = [each for each in card.holders if each.desktop]
    owners: list[Owner] = [
        {"owner": names[each.unit], "kind": "agent", "gib": each.gib}
        if each.unit in names
        else {"owner": f"{each.name} (pid {each.pid})", "kind": "process", "gib": each.gib}
        for each in card.holders
        if not each.desktop
    ]
    sizes = [each.gib for each in desktop if each.gib is not None]
    held = sum(sizes) if sizes else None
    if desktop:
        programs = ", ".join(dict.fromkeys(gpu_process.program(each.name) or "a process" for each in desktop))
        owners.append({"owner": f"desktop ({programs})", "kind": "desktop", "gib": held})
    return {
        "gpu": card.number,
        "uuid": card.uuid,
        "total_gib": card.total_gib,
        "used_gib": card.used_gib,
        "desktop_gib": held,
        "owners": owners,
    }


def unusable(plan: Plan, facts: GpuFacts | None = None) -> list[str]:
    """Return a sentence for each GPU that is lost, and for each other one of an agent that cannot be used."""
    if plan["accelerator"] != "cuda":
        return []
    facts = gpu.facts() if facts is None else facts
    used = [gpu.by_id(facts, uuid, number) for agent in plan["agents"] for uuid, number in gpu_memory.ids(agent)]
    found = [(card, gpu_problem.of(card)) for card in facts["gpus"]]
    return [str(why) for card, why in found if why and (why.code == gpu_problem.LOST or card in used)]
