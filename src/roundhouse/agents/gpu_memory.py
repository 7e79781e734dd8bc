"""Ollama on the same host: how it is known on a card, and what frees the card of it. Nothing of it is deleted.

Who holds a card's memory, and whether it is free for the next engine. Without NVML nothing is known or refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import RoundhouseError
from ..host import gpu
from ..plan.deployed import Agent
from . import ports

if TYPE_CHECKING:
    from roundhouse.schema.cards import GpuFacts, Process  # absolute, so that Ansible does not ship it with modules

# The service, its runner, and the runner's older name (ollama_llama_server).
_PROGRAM = "ollama"
CURE = (
    "It is Ollama: `ollama stop MODEL` frees the card until its next request, `sudo systemctl stop ollama` until the "
    "next boot, `sudo systemctl disable --now ollama` for good; ollama_policy: stop or disable lets site.yml do that. "
    "Killing its process alone brings a new one."
)


def is_it(name: str | None) -> bool:
    """Return whether a process is Ollama's, by the program's name or its path."""
    return (name or "").partition(" ")[0].rpartition("/")[2].startswith(_PROGRAM)


POLL_SECONDS = 0.25
# A driver gives memory back within a second or two of its process's end; more means that somebody holds it. The plan
# may say otherwise: free_timeout_seconds.
FREE_SECONDS = 30.0
# CUDA's total is a little below NVML's, and vLLM compares shares of CUDA's: no start is refused for the difference.
_TOLERANCE_GIB = 0.25


class Holder(NamedTuple):
    """A process with memory on a card; `gib` is None where the driver does not tell, `unit` where it has none."""

    pid: int
    name: str | None
    unit: str | None
    gib: float | None

    def __str__(self) -> str:
        size = "an unknown amount" if self.gib is None else f"{self.gib:.1f} GiB"
        return f"{(self.name or 'a process').rpartition('/')[2]} (pid {self.pid}) holds {size}"


class Card(NamedTuple):
    """One card's memory at one moment, in GiB."""

    number: int
    total_gib: float
    used_gib: float
    holders: list[Holder]

    def used_without(self, units: Iterable[str]) -> float | None:
        """Return what is in use when these units have left; None when their share is not told."""
        gone = [holder for holder in self.holders if holder.unit in set(units)]
        if any(holder.gib is None for holder in gone):
            return None
        return max(0.0, self.used_gib - sum(holder.gib or 0.0 for holder in gone))


def cards(indices: Iterable[int], facts: GpuFacts | None = None) -> list[Card]:
    """Return these cards of the host, as far as NVML tells of them."""
    facts = gpu.facts() if facts is None else facts
    found = []
    for index in sorted(indices):
        if index >= len(facts["gpus"]):
            continue
        known = facts["gpus"][index]
        total_gib, used_gib = known["memory_gib"], known["used_gib"]
        if total_gib is not None and used_gib is not None:
            holders = [_holder(process) for process in known["processes"] or []]
            found.append(Card(index, total_gib, used_gib, holders))
    return found


def refuse_strangers(agent: Agent, leaving: Iterable[str]) -> None:
    """Raise RoundhouseError when the memory that the agent's engine takes is not there once `leaving` units left.

    Memory in use that no process holds is one that just ended; it is waited for.
    """
    ours = {agent["unit"], *leaving}
    end = time.monotonic() + _limit_seconds(agent)
    while True:
        short = [(card, used) for card in cards(agent["gpus"]) if (used := _missing(agent, card, ours)) is not None]
        if not short:
            return
        card, used = short[0]
        strangers = [holder for holder in card.holders if holder.unit not in ours]
        # One that ended since the driver was asked has no unit any more; its memory comes.
        if any(_lives(holder.pid) for holder in strangers) or time.monotonic() > end:
            raise RoundhouseError("memory", f"{_wanted(agent, card)}, and {_named(strangers, used)}")
        time.sleep(POLL_SECONDS)


def wait_until_free(agent: Agent, left: Iterable[str], note: Callable[[str], None]) -> bool:
    """Wait until the agent's cards have the memory that its engine takes; return whether NVML told so at all.

    `left` are the units that have left: a process of theirs that is still on the card means that it is not free.
    Raises RoundhouseError when that takes too long, with who holds it.
    """
    limit = _limit_seconds(agent)
    gone, end = {*left}, time.monotonic() + limit
    while True:
        seen = cards(agent["gpus"])
        held = [card for card in seen if not _is_free(agent, card, gone)]
        if not held:
            return bool(seen)
        note(f"waiting for GPU {held[0].number}: {held[0].used_gib:.1f} of {held[0].total_gib:.1f} GiB in use")
        if time.monotonic() > end:
            told = _named(held[0].holders, held[0].used_gib)
            raise RoundhouseError("free", f"{_wanted(agent, held[0])}; {limit:.0f} s after the stop, {told}")
        time.sleep(POLL_SECONDS)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def _limit_seconds(agent: Agent) -> float:
    return float(agent.get("free_timeout_seconds", FREE_SECONDS))


def _missing(agent: Agent, card: Card, ours: set[str]) -> float | None:
    """Return the GiB in use without ours when they leave too little, None when they do not or it is not told."""
    used = card.used_without(ours)
    return None if used is None or _is_enough(agent, card.total_gib, used) else used


def _is_free(agent: Agent, card: Card, gone: set[str]) -> bool:
    return _is_enough(agent, card.total_gib, card.used_gib) and all(each.unit not in gone for each in card.holders)


def _is_enough(agent: Agent, total_gib: float, used_gib: float) -> bool:
    share: float = agent["gpu_memory_utilization"]
    return total_gib * (1 - share) + _TOLERANCE_GIB >= used_gib


def _wanted(agent: Agent, card: Card) -> str:
    share_gib = agent["gpu_memory_utilization"] * card.total_gib
    return f"{agent['name']} takes {share_gib:.1f} GiB of the {card.total_gib:.1f} GiB of GPU {card.number}"


def _named(holders: list[Holder], used_gib: float) -> str:
    if not holders:
        return f"{used_gib:.1f} GiB are in use by no process that the driver names: roundhouse gpu shows it."
    named = ", ".join(map(str, holders))
    pids = " ".join(str(holder.pid) for holder in holders if not is_it(holder.name))
    cures = [f"stop what does not belong there (kill {pids})."] if pids else []
    cures += [CURE] if any(is_it(holder.name) for holder in holders) else []
    return f"{named}: {' '.join(cures)}"


def _holder(process: Process) -> Holder:
    try:
        unit = ports.unit_of(process["pid"])
    except OSError:  # it has ended, or is of another namespace
        unit = None
    return Holder(process["pid"], process["name"], unit, process["gib"])
