"""Convert the facts of a host's GPUs into the cards of the plan, and list those that no agent can use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..catalog import gpus
from ..catalog.gpus import HostCard
from ..host import gpu_problem, gpu_process
from ..schema.plan import PlanCard

if TYPE_CHECKING:
    from roundhouse.schema.cards import Card


def of_facts(facts: list[Card], memory_gb: float | None = None) -> tuple[HostCard, ...]:
    """Return the numbered cards of gpu.facts(). `memory_gb` is the marketing size until a driver states the memory."""
    numbered = [card for card in facts if card["number"] is not None]
    return tuple(_card(number, card, memory_gb) for number, card in enumerate(numbered))


def without_driver(facts: list[Card]) -> tuple[PlanCard, ...]:
    """Return the cards that no driver of NVIDIA binds, which have no number."""
    return tuple(
        {"gpu": None, "uuid": None, "name": f"10de:{card['device_id']}", "problem": str(gpu_problem.of(card))}
        for card in facts
        if card["number"] is None
    )


def _card(number: int, card: Card, memory_gb: float | None) -> HostCard:
    stated, name = card["memory_gib"], card["name"]
    known = gpus.find(name, stated) if name else None
    of_name = known or (gpus.legacy(name) if name else None)
    capability, why = card["compute_capability"], gpu_problem.of(card)
    return HostCard(
        number=number,
        name=name or f"10de:{card['device_id']}",
        cuda_gib=_cuda_gib(card, memory_gb),
        capability=(capability[0], capability[1]) if capability else of_name.capability if of_name else None,
        bandwidth_gb_s=known.bandwidth_gb_s if known else None,
        shared_display=bool(card["display_active"]),
        uuid=card["uuid"],
        desktop_gib=_desktop_gib(card),
        system_gib=_system_gib(card),
        unusable=None if why is None else str(why),
    )


def _cuda_gib(card: Card, memory_gb: float | None) -> float | None:
    stated = card["memory_gib"]
    if stated:
        # CUDA's total of a GB10 is the host's memory: 119.68 GiB in leptonai/gpud#1170.
        return stated if card["unified"] else stated - gpus.DRIVER_KEEPS_GIB
    return memory_gb - gpus.BOX_HOLDS_BACK_GIB if memory_gb and not card["unified"] else None


def _desktop_gib(card: Card) -> float | None:
    """Return the memory of the desktop on a card; None without one, or if the driver does not report the memory.

    NVML's total and used memory include the driver's own part.
    """
    used, computing = card["used_gib"], gpu_process.computing_gib(card["processes"])
    if not card["display_active"] or card["unified"] or used is None or computing is None:
        return None
    return max(0.0, used - computing - gpus.DRIVER_KEEPS_GIB)


def _system_gib(card: Card) -> float | None:
    """Return the host's memory that the agents do not use, for a card with unified memory; None for another card."""
    if not card["unified"]:
        return None
    return max(0.0, (card["used_gib"] or 0.0) - (gpu_process.agents_gib(card["processes"]) or 0.0))
