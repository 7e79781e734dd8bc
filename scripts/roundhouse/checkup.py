"""What is wrong with this host and its agents, looked for all at once: doctor."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import card, causes, gpu, nvml, ports, status, units, weights
from .diagnosis import Finding, diagnose, of_cause
from .engine import Engine
from .errors import RoundhouseError
from .plan import Agent, Plan

GIB = 1024**3
# Below this an engine's caches, logs and states soon find no room.
_FREE_DISK_GIB = 1.0
_FOLDERS = ("/var/lib/roundhouse", "/var/cache/roundhouse", "/var/log", tempfile.gettempdir())
_NOTICE_LINES = 400  # of a log: enough for the tracebacks of all of an engine's processes
_FULL = 0.95  # of the KV cache


def of_driver(rows: list[dict[str, Any]], facts: dict[str, Any]) -> Finding | None:
    """Return the trouble that the driver's own state names (doctor.rows), None when it is well.

    A card that answers through NVML has a driver, whatever else of it cannot be seen, as within a container.
    """
    answers = facts["nvml"]["driver_version"] is not None
    for row in rows:
        if not row["ok"] and not (answers and row["state"] == "no_driver"):
            return Finding(row["state"], None, row["sentence"], f"{row['part']}: {row['state']}", row["cure"])
    return None


def examine(plan: Plan | None, driver: Finding | None = None, *, facts: dict[str, Any] | None = None) -> list[Finding]:
    """Return everything that is wrong, the host's troubles first; without a plan only those of the driver."""
    facts = gpu.facts() if facts is None else facts
    found = [] if driver is None else [driver]
    if plan is None:
        return found
    if driver is None or driver.cause in ("no_driver", "no_gpu"):
        found += _driver(plan, facts)
    found += [*_disks(), *_switch()]
    for agent in plan["agents"]:
        found += _agent(plan, agent)
    return found


def text(found: list[Finding]) -> str:
    """Return the findings for a person."""
    if not found:
        return "Nothing is wrong that this can see."
    blocks = [
        f"{each.agent or 'host'}: {each.cause}\n  {each.sentence}\n  seen: {each.evidence}\n  cure: {each.cure}"
        for each in found
    ]
    return "\n\n".join(blocks)


def _driver(plan: Plan, facts: dict[str, Any]) -> Iterator[Finding]:
    error = facts["nvml"]["error"]
    if plan.get("accelerator") != "cuda" or error is None:
        return
    name = "driver mismatch" if error == nvml.VERSION_MISMATCH else "no card"
    yield of_cause(name, f"NVML does not start: its error {error}")


def _disks() -> Iterator[Finding]:
    for folder in filter(os.path.isdir, _FOLDERS):
        status_of = os.statvfs(folder)
        free_gib = status_of.f_bavail * status_of.f_frsize / GIB
        if free_gib < _FREE_DISK_GIB:
            evidence = f"{folder} has {free_gib:.2f} GiB free"
            yield of_cause("disk full", evidence)


def _switch() -> Iterator[Finding]:
    told = status.running_switch()
    if told and "was killed" in told:
        yield Finding("switch killed", None, "A switch ended half-way.", told, "Run `roundhouse resume`.")


def _agent(plan: Plan, agent: Agent) -> Iterator[Finding]:
    name = agent["name"]
    if problem := weights.problem(Path(agent["model_path"])):
        sentence = "The model's folder is not whole."
        yield Finding("model damaged", name, sentence, problem, weights.cure(agent["model"], agent.get("quantise")))
    try:
        unit = units.show(agent["unit"])
    except RoundhouseError as error:
        yield Finding("unit missing", name, "The agent's unit is gone.", error.message, "ansible-playbook site.yml")
        return
    if unit.state == "ready":
        yield from _serving(plan, agent)
        return
    if unit.state == "failed" or unit.restarting:
        lines = [*units.log_of_this_start(agent["unit"])[-_NOTICE_LINES:]]
        yield diagnose(name, lines, result=unit.result, exit_status=unit.exit_status)
    holder = ports.holder(agent["port"])
    if holder and not (holder.unit or "").startswith("roundhouse-"):
        yield of_cause("port taken", f"{holder} listens on port {agent['port']}", name)
    if agent.get("gpus") and unit.state != "starting":
        yield from _strangers(plan, agent)


def _serving(plan: Plan, agent: Agent) -> Iterator[Finding]:
    name, engine = agent["name"], Engine(agent["host"], agent["port"])
    (row,) = status.rows(plan | {"agents": [agent]})
    for sentence in (row["problem"], *row["drift"]):
        if sentence:
            cause = "drift" if sentence != row["problem"] else "engine hangs"
            yield Finding(cause, name, "The running engine is not as planned.", sentence, "Run `roundhouse resume`.")
    load = engine.load()
    if load and load.waiting and (load.kv_use or 0) >= _FULL:
        evidence = f"{load.running} requests run, {load.waiting} wait, KV cache {100 * (load.kv_use or 0):.0f} % full"
        sentence = "Inference is slow because the KV cache is full, so requests wait or are begun again."
        cure = (
            f"Send fewer at once, or lower max_model_len, or kv_cache_dtype: fp8 in the roster, then `{causes.AGAIN}`."
        )
        yield Finding("slow inference", name, sentence, evidence, cure)


def _strangers(plan: Plan, agent: Agent) -> Iterator[Finding]:
    try:
        card.refuse_strangers(agent | {"free_timeout_seconds": 0}, [other["unit"] for other in plan["agents"]])
    except RoundhouseError as error:
        yield of_cause("memory held", error.message, agent["name"])
