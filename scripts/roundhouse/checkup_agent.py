"""What is wrong with one agent: its model, its unit, its last starts, its port, its card, its speed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from . import card, failed_start, ports, slowness, starts, status, units, weights
from .diagnosis import Finding, of_cause
from .errors import RoundhouseError
from .journald import Entry
from .plan import Agent, Plan


class Seen(NamedTuple):
    """What was looked at once for all agents: the cards' facts, and the kernel's log."""

    facts: dict[str, Any]
    kernel: list[Entry]


def examine(plan: Plan, agent: Agent, seen: Seen) -> Iterator[Finding]:
    """Yield everything that is wrong with the agent."""
    name = agent["name"]
    if problem := weights.problem(Path(agent["model_path"])):
        sentence = "The model's folder is not whole."
        yield Finding("model damaged", name, sentence, problem, weights.cure(agent["model"], agent.get("quantize")))
    try:
        unit = units.show(agent["unit"])
    except RoundhouseError as error:
        yield Finding("unit missing", name, "The agent's unit is gone.", error.message, "ansible-playbook site.yml")
        return
    past = starts.of(agent["unit"])
    loop = failed_start.loop(agent, unit, past, seen.kernel)
    if loop:
        yield loop
    if unit.state == "ready":
        yield from _serving(plan, agent, seen)
        return
    if not loop and (failed := failed_start.last(agent, unit, past, seen.kernel)):
        yield failed
    holder = ports.holder(agent["engine_port"])
    if holder and not (holder.unit or "").startswith("roundhouse-"):
        yield of_cause("port taken", f"{holder} listens on port {agent['engine_port']}", name)
    if agent.get("gpus") and unit.state != "starting":
        yield from _strangers(plan, agent)


def _serving(plan: Plan, agent: Agent, seen: Seen) -> Iterator[Finding]:
    name = agent["name"]
    (row,) = status.rows(plan | {"agents": [agent]})
    for sentence in (row["problem"], *row["drift"]):
        if sentence:
            cause = "drift" if sentence != row["problem"] else "engine hangs"
            yield Finding(cause, name, "The running engine is not as planned.", sentence, "Run `roundhouse resume`.")
    yield from slowness.findings(agent, card.cards(agent.get("gpus") or [], seen.facts))


def _strangers(plan: Plan, agent: Agent) -> Iterator[Finding]:
    try:
        card.refuse_strangers(agent | {"free_timeout_seconds": 0}, [other["unit"] for other in plan["agents"]])
    except RoundhouseError as error:
        yield of_cause("memory held", error.message, agent["name"])
