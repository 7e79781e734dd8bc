"""Find the processes that hold a GPU's memory, and wait until it is free. Without NVML no start is refused."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import RoundhouseError
from ..host import gpu
from ..state.note import Note, OnNote
from . import ports

if TYPE_CHECKING:  # absolute, so that Ansible does not ship them with modules
    from roundhouse.schema.cards import GpuFacts, HolderRow, Process
    from roundhouse.schema.plan import Agent


# Ollama's service, its runner, and the runner's older name (ollama_llama_server).
_OLLAMA = "ollama"
OLLAMA_CURE = (
    "It is Ollama: `ollama stop MODEL` frees the GPU until its next request, `sudo systemctl stop ollama` until the "
    "next boot. `sudo systemctl disable --now ollama` frees it permanently; ollama_policy (stop or disable) lets "
    "site.yml do that. If only its process is killed, systemd starts it again."
)
POLL_SECONDS = 0.25
# A driver frees memory within 2 s of the end of its process; a longer wait means that a process holds it.
# free_timeout_seconds in the plan overrides it.
FREE_SECONDS = 30.0
# CUDA's total is slightly below NVML's, and vLLM compares shares of CUDA's. The tolerance covers the difference.
_TOLERANCE_GIB = 0.25


class Holder(NamedTuple):
    """A process with memory on a GPU; `gib` is None if the driver does not report it, `unit` if there is none."""

    pid: int
    name: str | None
    unit: str | None
    gib: float | None

    def __str__(self) -> str:
        size = "an unknown amount" if self.gib is None else f"{self.gib:.1f} GiB"
        return f"{(self.name or 'a process').rpartition('/')[2]} (pid {self.pid}) holds {size}"

    def as_row(self) -> HolderRow:
        """Return the holder for JSON."""
        return {"pid": self.pid, "name": self.name, "unit": self.unit, "gib": self.gib}


class Card(NamedTuple):
    """One GPU's memory at one moment, in GiB."""

    number: int
    total_gib: float
    used_gib: float
    holders: list[Holder]

    def used_without(self, units: Iterable[str]) -> float | None:
        """Return the GiB in use after these units have stopped; None if their share is unknown."""
        gone = [holder for holder in self.holders if holder.unit in set(units)]
        if any(holder.gib is None for holder in gone):
            return None
        return max(0.0, self.used_gib - sum(holder.gib or 0.0 for holder in gone))


def cards(indices: Iterable[int], facts: GpuFacts | None = None) -> list[Card]:
    """Return these GPUs of the host, as far as NVML knows them."""
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


def require_memory(agent: Agent, stopping: Iterable[str]) -> None:
    """Raise RoundhouseError if the agent's GPUs lack its memory even after these units have stopped.

    Memory in use without a process belongs to one that has just ended, so this waits for it.
    """
    ours = {agent["unit"], *stopping}
    end = time.monotonic() + _limit_seconds(agent)
    while True:
        short = [(card, used) for card in cards(agent["gpus"]) if (used := _missing(agent, card, ours)) is not None]
        if not short:
            return
        card, used = short[0]
        others = [holder for holder in card.holders if holder.unit not in ours]
        # A process that ended since the driver's answer has no unit any more; its memory is about to be free.
        if any(_lives(holder.pid) for holder in others) or time.monotonic() > end:
            others_alone = card._replace(used_gib=used, holders=others)
            raise _held("memory_held", f"{_TAKES}, and {{holders}}.", agent, others_alone)
        time.sleep(POLL_SECONDS)


def wait_until_free(agent: Agent, stopped: Iterable[str], note: OnNote) -> bool:
    """Wait until the agent's GPUs have the memory for its engine; return whether NVML reported it.

    A GPU is not free while a process of a stopped unit is on it. Raises RoundhouseError with the holders on a timeout.
    """
    limit = _limit_seconds(agent)
    gone, end = {*stopped}, time.monotonic() + limit
    while True:
        seen = cards(agent["gpus"])
        held = [card for card in seen if not _is_free(agent, card, gone)]
        if not held:
            return bool(seen)
        card = held[0]
        text = f"waiting for GPU {card.number}: {card.used_gib:.1f} of {card.total_gib:.1f} GiB in use"
        note(Note(text, step=f"GPU {card.number}"))
        if time.monotonic() > end:
            text = f"{_TAKES}; {limit:.0f} s after the stop, {{holders}}."
            raise _held("memory_not_freed", text, agent, card)
        time.sleep(POLL_SECONDS)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def _limit_seconds(agent: Agent) -> float:
    return float(agent.get("free_timeout_seconds", FREE_SECONDS))


def _missing(agent: Agent, card: Card, ours: set[str]) -> float | None:
    """Return the GiB in use without our units if that leaves too little; None if it is enough or unknown."""
    used = card.used_without(ours)
    return None if used is None or _is_enough(agent, card.total_gib, used) else used


def _is_free(agent: Agent, card: Card, gone: set[str]) -> bool:
    return _is_enough(agent, card.total_gib, card.used_gib) and all(each.unit not in gone for each in card.holders)


def _is_enough(agent: Agent, total_gib: float, used_gib: float) -> bool:
    share: float = agent["gpu_memory_utilization"]
    return total_gib * (1 - share) + _TOLERANCE_GIB >= used_gib


_TAKES = "{agent} takes {wanted_gib:.1f} GiB of the {total_gib:.1f} GiB of GPU {gpu}"


def _held(code: str, text: str, agent: Agent, card: Card) -> RoundhouseError:
    """Return the error that names the holders of a GPU's memory, and the remedy."""
    named = ", ".join(map(str, card.holders))
    pids = [holder.pid for holder in card.holders if not is_ollama(holder.name)]
    cures = [f"If they are not needed there, stop them (`kill {' '.join(map(str, pids))}`)."] if pids else []
    cures += [OLLAMA_CURE] if any(is_ollama(holder.name) for holder in card.holders) else []
    return RoundhouseError(
        code,
        text,
        " ".join(cures) or "See `roundhouse gpu`.",
        agent=agent["name"],
        gpu=card.number,
        wanted_gib=agent["gpu_memory_utilization"] * card.total_gib,
        total_gib=card.total_gib,
        holders=named or f"the driver reports {card.used_gib:.1f} GiB in use without a process",
        pids=[holder.pid for holder in card.holders],
    )


def is_ollama(name: str | None) -> bool:
    """Return whether a process is Ollama's, by the program's name or its path."""
    return (name or "").partition(" ")[0].rpartition("/")[2].startswith(_OLLAMA)


def _holder(process: Process) -> Holder:
    try:
        unit = ports.unit_of(process["pid"])
    except OSError:  # it has ended, or belongs to another namespace
        unit = None
    return Holder(process["pid"], process["name"], unit, process["gib"])
