"""Report the agents now: systemd's state, the engines' own answers, crashes, and the holders of GPU memory."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..errors import RoundhouseError
from ..host import gpu, gpu_problem, gpu_process, systemd
from ..plan import deployed
from ..state import serving, switch_journal
from ..util import console, timestamps
from ..util.pairs import pairs
from ..vllm.client import Engine
from . import crashes, gpu_memory, start_history
from .drift import drift

if TYPE_CHECKING:
    from roundhouse.schema.cards import CardMemory, GpuFacts, Owner
    from roundhouse.schema.facts import CrashRow, StatusRow
    from roundhouse.schema.plan import Agent, Plan


COLUMNS = ("agent", "state", "port", "requests", "KV use", "since", "max_model_len", "model")
# The columns of the screen of `watch`.
NARROW = tuple(name for name in COLUMNS if name not in ("since", "max_model_len"))


def rows(plan: Plan) -> list[StatusRow]:
    """Return one row per agent; what only an engine knows is None without one.

    An agent that a deployment or a rollback has removed since `plan` was read gets no row.
    """
    found = systemd.show_all([agent["unit"] for agent in plan["agents"]])
    crashed = crashes.of_last_day()
    seen = [
        (agent, unit)
        for agent, unit in pairs(plan["agents"], found)
        if not (isinstance(unit, RoundhouseError) and _was_removed(agent))
    ]
    return [_row(plan, agent, unit, crashed.get(agent["name"])) for agent, unit in seen]


def _was_removed(agent: Agent) -> bool:
    """Return whether the plan in place, which may be newer than the one that the caller read, lacks an agent."""
    try:
        plan = deployed.load(deployed.PATH)
    except RoundhouseError:  # no plan, or not a valid one: the caller's is the one to report
        return False
    return agent["name"] not in [each["name"] for each in plan["agents"]]


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


def running_switch() -> str | None:
    """Return the sentence about a running or killed switch, None without one."""
    if serving.is_switching():
        return f"a switch is running ({switch_journal.describe()})"
    return killed_switch()


def killed_switch() -> str | None:
    """Return the sentence about a killed switch, None without one or while another switch runs."""
    killed = None if serving.is_switching() else switch_journal.killed()
    if killed is None:
        return None
    minutes = max(0.0, time.time() - killed.began) / 60
    return (
        f"a switch to {killed.to} was killed {minutes:.0f} min ago in its phase {killed.phase}: `roundhouse resume` "
        "completes it or rolls it back"
    )


def table(found: list[StatusRow], columns: tuple[str, ...] = COLUMNS, limit: int | None = None) -> str:
    """Return the agents for a person, in at most `limit` columns (default: the terminal's); active ones are marked."""
    shown = [
        {**row, "requests": _requests(row), "KV use": _percent(row["kv_use"]), "since": _local(row["since"])}
        for row in found
    ]
    return console.table(columns, shown, ["*" if row["state"] == "ready" else " " for row in found], limit)


def text(found: list[StatusRow], held: list[CardMemory], switching: str | None, cards: Iterable[str] = ()) -> str:
    """Return agents, GPU memory, problems of agents and `cards`, and a switch for a person."""
    lines = [table(found)]
    for each in held:
        owners = ", ".join(f"{owner['owner']} {_gib(owner['gib'])}" for owner in each["owners"]) or "no process"
        lines.append(f"GPU {each['gpu']}: {each['used_gib']:.1f} of {each['total_gib']:.1f} GiB in use: {owners}")
    return "\n".join([*lines, *cards, *troubles(found), *([switching] if switching else [])])


def troubles(found: list[StatusRow]) -> list[str]:
    """Return a line for each drift, each problem, and the crashes of each agent."""
    lines = [f"{row['agent']}: {each}" for row in found for each in (*row["drift"], row["problem"]) if each]
    return [*lines, *(crashed(row["agent"], row["crash"]) for row in found if row["crash"])]


def crashed(name: str, crash: CrashRow) -> str:
    """Return the crashes of an agent in one line."""
    return f"{crashes.sentence(name, crash)} `roundhouse doctor` shows the cause and the remedy."


def _row(plan: Plan, agent: Agent, unit: systemd.Unit | RoundhouseError, crash: crashes.Crash | None) -> StatusRow:
    row: StatusRow = {
        "agent": agent["name"],
        "state": None,
        "port": agent["port"],
        "model": agent["model"],
        "max_model_len": None,
        "running": None,
        "waiting": None,
        "kv_use": None,
        "since": None,
        "version": None,
        "problem": None,
        "drift": [],
        "crash": crash.as_json() if crash else None,
    }
    if isinstance(unit, RoundhouseError):
        row["problem"] = unit.message
        return row
    row["state"] = unit.state
    if unit.state == "failed" and (failed := start_history.problem(agent, unit)):
        row["problem"] = failed.message
    if unit.state not in ("ready", "draining"):
        return row
    engine = Engine(agent["host"], agent["engine_port"])
    row["since"] = timestamps.utc(timestamps.of_systemd(unit.since)) if unit.since else None
    try:
        served, version = engine.served(), engine.version()
        row["version"] = version
        row["max_model_len"] = served[0].get("max_model_len") if served else None
        row["drift"] = drift(plan, agent, unit, served, version)
    except RoundhouseError as error:
        row["problem"] = error.message
    if load := engine.load():
        row["running"], row["waiting"], row["kv_use"] = load.running, load.waiting, load.kv_use
    return row


def _local(since: str | None) -> str | None:
    return None if since is None else timestamps.local(timestamps.of_utc(since))


def _requests(row: StatusRow) -> str | None:
    return None if row["running"] is None else f"{row['running']} running, {row['waiting']} waiting"


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.0f} %"


def _gib(size: float | None) -> str:
    return "an unknown amount" if size is None else f"{size:.1f} GiB"
