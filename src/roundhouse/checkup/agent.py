"""Examine one agent: its model, its unit, its last starts, its port, its card, its speed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..agents import gpu_memory, kernel_log, ports, start_history, status
from ..doctor.diagnosis import Finding, of_cause
from ..errors import RoundhouseError
from ..host import gpu, systemd
from ..host.journal import Entry
from ..models import safetensors
from ..schema.cards import GpuFacts
from ..schema.plan import Agent, Plan
from . import slow_inference

# Longer than status waits, because a busy engine is not a finding.
_ANSWER_SECONDS = 5.0


class Observed(NamedTuple):
    """Facts of the GPUs and the kernel's log, read once for all agents."""

    facts: GpuFacts
    kernel: list[Entry]


def observe(facts: GpuFacts | None = None) -> Observed:
    """Return the facts of the GPUs, as given or read now, and the kernel's log."""
    return Observed(gpu.facts() if facts is None else facts, kernel_log.read())


def examine(plan: Plan, agent: Agent, seen: Observed) -> Iterator[Finding]:
    """Yield a finding for each problem of the agent."""
    name = agent["name"]
    if problem := safetensors.problem(Path(agent["model_path"])):
        yield Finding(
            code="model_damaged",
            agent=name,
            text="The model's folder is incomplete.",
            evidence=problem,
            remedy=safetensors.remedy(agent["model"], agent.get("quantize")),
        )
    try:
        unit = systemd.show(agent["unit"])
    except RoundhouseError as error:
        yield Finding(
            code="unit_missing",
            agent=name,
            text="The agent's unit does not exist.",
            evidence=error.message,
            remedy="Run `ansible-playbook site.yml`.",
        )
        return
    past = start_history.of(agent["unit"])
    loop = start_history.loop(agent, unit, past, seen.kernel)
    if loop:
        yield loop
    if unit.state == "ready":
        yield from _serving(plan, agent, seen)
        return
    if not loop and (failed := start_history.last(agent, unit, past, seen.kernel)):
        yield failed
    holder = ports.holder(agent["engine_port"])
    if holder and not (holder.unit or "").startswith("roundhouse-"):
        yield of_cause("port_in_use", f"{holder} listens on port {agent['engine_port']}", name)
    if agent.get("gpus") and unit.state != "starting":
        yield from _other_processes(plan, agent)


def _serving(plan: Plan, agent: Agent, seen: Observed) -> Iterator[Finding]:
    one = plan.copy()
    one["agents"] = [agent]
    (row,) = status.rows(one, _ANSWER_SECONDS)
    text, remedy = "The running engine differs from the plan.", "Run `roundhouse resume`."
    found = [
        *([("engine_hangs", row["problem"])] if row["problem"] else []),
        *(("drift", each) for each in row["drift"]),
    ]
    for code, evidence in found:
        yield Finding(code=code, agent=agent["name"], text=text, evidence=evidence, remedy=remedy)
    yield from slow_inference.findings(agent, gpu_memory.cards(gpu_memory.ids(agent), seen.facts))


def _other_processes(plan: Plan, agent: Agent) -> Iterator[Finding]:
    now = agent.copy()
    now["free_timeout_seconds"] = 0
    try:
        gpu_memory.require_memory(now, [other["unit"] for other in plan["agents"]])
    except RoundhouseError as error:
        yield of_cause("memory_held", error.message, agent["name"])
