"""Who serves: systemd's state, what the running engine says about itself, and who holds the cards' memory."""

from __future__ import annotations

import time
from typing import Any

from ..errors import RoundhouseError
from ..host import gpu, systemd
from ..state import serving, switch_journal
from ..util import console
from ..vllm.client import Engine
from . import gpu_memory, start_history
from .drift import drift

COLUMNS = ("agent", "state", "port", "requests", "KV use", "since", "max_model_len", "model")
# What fits 80 columns with a model's name of usual length.
NARROW = tuple(name for name in COLUMNS if name != "max_model_len")
_OF_AN_ENGINE = ("max_model_len", "running", "waiting", "kv_use", "since", "version", "problem")


def rows(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one dict per agent; what only an engine knows is None without one.

    agent, state, port, model, max_model_len, running, waiting (requests), kv_use (0 to 1), since, version, drift
    (a sentence for each difference from the plan), problem.
    """
    found = systemd.show_all([agent["unit"] for agent in plan["agents"]])
    return [_row(plan, agent, unit) for agent, unit in zip(plan["agents"], found, strict=True)]


def memory(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Return who holds the memory of each card of the plan: [{gpu, total_gib, used_gib, owners: [{owner, gib}]}].

    An owner is an agent, or a process by its name and pid. [] without NVML.
    """
    indices = {index for agent in plan["agents"] for index in agent.get("gpus", [])}
    names = {agent["unit"]: agent["name"] for agent in plan["agents"]}
    return [
        {
            "gpu": each.number,
            "total_gib": each.total_gib,
            "used_gib": each.used_gib,
            "owners": [
                {"owner": names.get(holder.unit or "", f"{holder.name} (pid {holder.pid})"), "gib": holder.gib}
                for holder in each.holders
            ],
        }
        for each in gpu_memory.cards(indices, gpu.facts())
    ]


def running_switch() -> str | None:
    """Return the sentence about a switch that runs now, or that was killed; None for none."""
    if serving.is_switching():
        return f"a switch is running ({switch_journal.told()})"
    left = switch_journal.left()
    if left is None:
        return None
    minutes = (time.time() - left.began) / 60
    return (
        f"a switch to {left.to} was killed {minutes:.0f} min ago in its phase {left.phase}: roundhouse resume finishes "
        "or undoes it"
    )


def table(found: list[dict[str, Any]], columns: tuple[str, ...] = COLUMNS) -> str:
    """Return the agents for a person; the serving ones are marked."""
    shown = [
        row | {"requests": _requests(row), "KV use": _percent(row["kv_use"]), "since": _short(row["since"])}
        for row in found
    ]
    return console.table(columns, shown, ["*" if row["state"] == "ready" else " " for row in found])


def text(found: list[dict[str, Any]], held: list[dict[str, Any]], switching: str | None) -> str:
    """Return all of it for a person."""
    lines = [table(found)]
    for each in held:
        owners = ", ".join(f"{owner['owner']} {_gib(owner['gib'])}" for owner in each["owners"]) or "nobody"
        lines.append(f"GPU {each['gpu']}: {each['used_gib']:.1f} of {each['total_gib']:.1f} GiB in use: {owners}")
    return "\n".join([*lines, *troubles(found), *([switching] if switching else [])])


def troubles(found: list[dict[str, Any]]) -> list[str]:
    """Return a line for each drift and each problem."""
    return [f"{row['agent']}: {told}" for row in found for told in (*row["drift"], row["problem"]) if told]


def _row(plan: dict[str, Any], agent: dict[str, Any], unit: systemd.Unit | RoundhouseError) -> dict[str, Any]:
    row: dict[str, Any] = {"agent": agent["name"], "state": None, "port": agent["port"], "model": agent["model"]}
    row |= {**dict.fromkeys(_OF_AN_ENGINE), "drift": []}
    if isinstance(unit, RoundhouseError):
        return row | {"problem": unit.message}
    row["state"] = unit.state
    if unit.state == "failed":
        return row | {"problem": start_history.why(agent, unit).text()}
    if unit.state not in ("ready", "draining"):
        return row
    engine = Engine(agent["host"], agent["engine_port"])
    row["since"] = unit.since
    try:
        served, row["version"] = engine.served(), engine.version()
        row["max_model_len"] = served[0]["max_model_len"] if served else None
        row["drift"] = drift(plan, agent, unit, served, row["version"])
    except RoundhouseError as error:
        row["problem"] = error.message
    if load := engine.load():
        row |= {"running": load.running, "waiting": load.waiting, "kv_use": load.kv_use}
    return row


def _short(since: str | None) -> str | None:
    """Return systemd's time without its weekday, year, seconds and zone."""
    return None if since is None else " ".join(since.split()[1:3])[5:16]


def _requests(row: dict[str, Any]) -> str | None:
    return None if row["running"] is None else f"{row['running']}+{row['waiting']}"


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.0f} %"


def _gib(size: float | None) -> str:
    return "an unknown amount" if size is None else f"{size:.1f} GiB"
