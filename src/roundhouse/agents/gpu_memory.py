"""Find the processes that hold a GPU's memory, and wait until it is free. Without NVML no start is refused."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Optional

from ..doctor.cause import PLAN_AGAIN
from ..errors import RoundhouseError
from ..host import gpu, gpu_problem, gpu_process
from ..state.note import Note, OnNote
from ..util.pairs import pairs

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
DESKTOP_CURE = (
    "The desktop also uses the GPU: close its applications, or run `"
    + PLAN_AGAIN
    + "`, which plans with the desktop's "
    "present memory."
)
# A driver frees memory within 2 s of the end of its process; a longer wait means that a process holds it.
# free_timeout_seconds in the plan overrides it.
FREE_SECONDS = 30.0
# CUDA's total is slightly below NVML's, and vLLM compares shares of CUDA's. The tolerance covers the difference.
_TOLERANCE_GIB = 0.25


class Holder(NamedTuple):
    """A process with memory on a GPU; `gib` is None if the driver does not report it, `unit` if there is none.

    `desktop`: it belongs to the user's desktop, so no remedy ends it.
    """

    pid: int
    name: str | None
    unit: str | None
    gib: float | None
    desktop: bool = False

    def __str__(self) -> str:
        size = "an unknown amount" if self.gib is None else f"{self.gib:.1f} GiB"
        return f"{(self.name or 'a process').rpartition('/')[2]} (pid {self.pid}) holds {size}"

    def as_row(self) -> HolderRow:
        """Return the holder for JSON."""
        return {"pid": self.pid, "name": self.name, "unit": self.unit, "gib": self.gib, "desktop": self.desktop}


class Card(NamedTuple):
    """One GPU's memory at one moment, in GiB; of a GPU with unified memory it is the host's."""

    number: int
    total_gib: float
    used_gib: float
    holders: list[Holder]
    uuid: str | None = None

    def used_without(self, units: Iterable[str]) -> float | None:
        """Return the GiB in use after these units have stopped; None if their share is unknown."""
        gone = [holder for holder in self.holders if holder.unit in set(units)]
        if any(holder.gib is None for holder in gone):
            return None
        return max(0.0, self.used_gib - sum(holder.gib or 0.0 for holder in gone))


Id = tuple[Optional[str], int]  # the UUID, None in a plan of an earlier version, and the number


def ids(agent: Agent) -> list[Id]:
    """Return the UUID and the number of each GPU of an agent."""
    numbers = agent.get("gpus") or []
    uuids: list[str | None] = [*agent.get("gpu_uuids", [])] or [None] * len(numbers)
    return [*pairs(uuids, numbers)]


def cards(wanted: Iterable[Id], facts: GpuFacts | None = None) -> list[Card]:
    """Return these GPUs of the host by number, as far as NVML reports their memory."""
    facts = gpu.facts() if facts is None else facts
    found = {}
    for uuid, number in wanted:
        known = gpu.by_id(facts, uuid, number)
        if known is None or known["number"] is None:
            continue
        total_gib, used_gib = known["memory_gib"], known["used_gib"]
        if total_gib is not None and used_gib is not None:
            holders = [_holder(process) for process in known["processes"] or []]
            found[known["number"]] = Card(known["number"], total_gib, used_gib, holders, known["uuid"])
    return [found[number] for number in sorted(found)]


def require_usable(agent: Agent, facts: GpuFacts | None = None) -> None:
    """Raise RoundhouseError if a GPU of the agent is not in the host any more, or no agent can use it."""
    facts = gpu.facts() if facts is None else facts
    if facts["nvml"]["driver_version"] is None:
        return
    lost = next((card for card in facts["gpus"] if card["error"] is not None), None)
    for uuid, number in ids(agent):
        known = gpu.by_id(facts, uuid, number) or lost  # a lost card reports no UUID
        if known is None and uuid:
            text = "GPU {gpu} of {agent} ({uuid}) is not in this host."
            remedy = "Run `ansible-playbook site.yml`, which plans with the present GPUs."
            raise RoundhouseError("card_missing_on_host", text, remedy, gpu=number, agent=agent["name"], uuid=uuid)
        if known and (why := gpu_problem.of(known)):
            text, told = "{agent} cannot start. {reason}", {"reason": why.text, "cause": why.code}
            raise RoundhouseError("card_unusable", text, why.remedy, agent=agent["name"], **told)


def require_memory(agent: Agent, stopping: Iterable[str]) -> None:
    """Raise RoundhouseError if the agent's GPUs lack its memory even after these units have stopped.

    Memory in use without a process belongs to one that has just ended, so this waits for it.
    """
    ours = {agent["unit"], *stopping}
    end = time.monotonic() + _limit_seconds(agent)
    while True:
        short = [(card, used) for card in cards(ids(agent)) if (used := _missing(agent, card, ours)) is not None]
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
        seen = cards(ids(agent))
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
    pids = [holder.pid for holder in card.holders if not is_ollama(holder.name) and not holder.desktop]
    cures = [f"If they are not needed there, stop them (`kill {' '.join(map(str, pids))}`)."] if pids else []
    cures += [OLLAMA_CURE] if any(is_ollama(holder.name) for holder in card.holders) else []
    cures += [DESKTOP_CURE] if any(holder.desktop for holder in card.holders) else []
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
    return gpu_process.program(name).startswith(_OLLAMA)


def _holder(process: Process) -> Holder:
    desktop = gpu_process.is_desktop(process["kinds"], process["name"])
    return Holder(process["pid"], process["name"], process["unit"], process["gib"], desktop)
