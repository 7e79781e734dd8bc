"""Measure the active agent, and compare it with the plan's ceiling, the migration guide, and another endpoint.

The other endpoint gets the same load. Nothing is switched, started or stopped.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Optional, TypedDict

from ..errors import RoundhouseError, UsageError
from ..plan import deployed
from ..schema.plan import Agent, Plan
from ..util import console
from ..util.pairs import pairs
from ..vllm.client import Engine
from . import load as bench_load
from . import target
from .load import Figure, Level, Load
from .target import Target

# The figures of the migration guide. They were not measured here.
# Part 1, row "Throughput": for one request, of any agent.
TOKENS_PER_SECOND = (50.0, 80.0)
# Part 7: "after model loaded".
TTFT_SECONDS = (1.0, 2.0)
# Part 7: of its three agents, which have the names of the roster.
REQUESTS_PER_MINUTE = {"po": 100.0, "architect": 30.0, "dev": 25.0}


class Promised(TypedDict):
    """The figures of the guide for an agent, under the names that `bench` uses."""

    tokens_per_second_each: list[float]  # from, to
    ttft_seconds: list[float]  # from, to
    requests_per_minute: float | None  # None: not stated


class LoadRow(TypedDict):
    """The load of all levels, and a seed for each level."""

    input_tokens: int
    output_tokens: int
    seeds: list[int]


class Against(TypedDict):
    """The other endpoint."""

    url: str
    model: str
    measured: list[Level]


Ratios = dict[str, Optional[float]]  # parallel, and each of FIGURES divided by that of the other; None: unknown


class Result(TypedDict):
    """The result of `bench`, as it is written."""

    agent: str
    model: str
    quantization: str | None
    engine: str
    accelerator: str
    at: str  # UTC, 2026-01-31T12:00:00Z
    load: LoadRow
    ceiling_tokens_per_second_each: float | None
    promised: Promised
    measured: list[Level]
    against: Against | None
    ratios: list[Ratios]  # [] without `against`


def promised(agent: str) -> Promised:
    """Return the figures of the guide for an agent."""
    return {
        "tokens_per_second_each": list(TOKENS_PER_SECOND),
        "ttft_seconds": list(TTFT_SECONDS),
        "requests_per_minute": REQUESTS_PER_MINUTE.get(agent),
    }


# Tokens that a chat template adds to a prompt, and that a word may gain when it is tokenized again.
_AROUND_TOKENS = 64
FIGURES: tuple[Figure, ...] = ("ttft_seconds", "tokens_per_second_each", "tokens_per_second", "requests_per_minute")

Report = Callable[[str], None]


def chosen(plan: Plan, name: str | None) -> Agent:
    """Return the agent of that name, else the active agent. Raises RoundhouseError, UsageError."""
    if name is not None:
        return deployed.find(plan, name)
    serving = [agent for agent in plan["agents"] if Engine(agent["host"], agent["engine_port"]).healthy()]
    if not serving:
        raise RoundhouseError(
            "no_active_agent",
            "No agent is active.",
            "Switch to one: {program} {agent}.",
            program=console.command_name(),
            agent=plan["agents"][0]["name"],
        )
    if len(serving) > 1:
        names = ", ".join(agent["name"] for agent in serving)
        raise UsageError(
            "agent_ambiguous",
            "{agents} are active.",
            "Name one: {program} bench {agent}.",
            agents=names,
            program=console.command_name(),
            agent=serving[0]["name"],
        )
    return serving[0].copy()


def measure(plan: Plan, agent: Agent, load: Load, against: Target | None, report: Report) -> Result:
    """Return the figures of the agent and of the other endpoint, and their ratios. Raises RoundhouseError."""
    _check(agent, load)
    tool = bench_load.of(plan, agent)
    engine = Engine(agent["host"], agent["engine_port"])
    own = target.own(agent)
    version, busy = engine.version(), engine.load()
    if busy and busy.running:
        report(f"{agent['name']} has {busy.running} other running requests; they lower the figures.")
    rows: dict[Target, list[Level]] = {target: [] for target in (own, against) if target}
    # New prompts for each level and each run: an engine keeps earlier ones in its prefix cache.
    seeds = [secrets.randbelow(2**31) for _ in load.parallel]
    for parallel, seed in pairs(load.parallel, seeds):
        for endpoint, measured in rows.items():
            report(f"{endpoint.model} at {endpoint.url}: {load.requests_at(parallel)} requests, {parallel} parallel")
            measured.append(bench_load.run(tool, load, parallel, seed, endpoint))
    fit = agent.get("fit")
    other: Against | None = {"url": against.url, "model": against.model, "measured": rows[against]} if against else None
    return {
        "agent": agent["name"],
        "model": agent["model"],
        "quantization": agent.get("quantization"),
        "engine": f"vLLM {version}",
        "accelerator": plan["accelerator"],
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "load": {"input_tokens": load.input_tokens, "output_tokens": load.output_tokens, "seeds": seeds},
        "ceiling_tokens_per_second_each": fit["decode_ceiling_tokens_per_second"] if fit else None,
        "promised": promised(agent["name"]),
        "measured": rows[own],
        "against": other,
        "ratios": [ratios(ours, theirs) for ours, theirs in pairs(rows[own], rows[against])] if against else [],
    }


def ratios(ours: Level, theirs: Level) -> Ratios:
    """Return ours divided by theirs for each figure of a level; None where one of the two is unknown."""
    pairs = ((name, ours[name], theirs[name]) for name in FIGURES)
    return {"parallel": ours["parallel"]} | {
        name: round(our / their, 3) if our is not None and their else None for name, our, their in pairs
    }


def problems(result: Result) -> list[str]:
    """Return a sentence for each level at which requests failed."""
    sides = [(result["agent"], result["measured"])]
    if result["against"]:
        sides.append((result["against"]["url"], result["against"]["measured"]))
    return [
        f"{row['failed']} of {row['requests']} requests to {name} failed with {row['parallel']} in parallel: "
        f"{row['error']}. Do not use the figures of that level."
        for name, rows in sides
        for row in rows
        if row["failed"]
    ]


def _check(agent: Agent, load: Load) -> None:
    room = agent["max_model_len"]
    if room is not None and load.input_tokens + load.output_tokens + _AROUND_TOKENS > room:
        raise UsageError(
            "bench_prompt_too_long",
            "--input-tokens {input} plus --output-tokens {output} exceed the {room} tokens of {agent}, of which "
            "its chat template takes {template}.",
            "Write smaller numbers.",
            input=load.input_tokens,
            output=load.output_tokens,
            agent=agent["name"],
            room=room,
            template=_AROUND_TOKENS,
        )
