"""What an agent needs and its source does not say, each with a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import catalog, engine_defaults, import_models, import_source
from .import_source import Line

Agent = dict[str, Any]

# Below this a plan gives up no more tokens by itself: an agent with fewer is of little use.
FEWEST_TOKENS = 8192
_UNKNOWN_TOKENS = 8192
_MOST_TOKENS = 32768


_OF_VLLM = "it is vLLM's own, where neither a request nor the model's author says another."
SAMPLING = {"temperature": (1.0, _OF_VLLM), "top_p": (1.0, _OF_VLLM)}


def complete(agent: Agent, file: str, sampling: Mapping[str, tuple[float, str]] = SAMPLING) -> list[Line]:
    """Add what is missing to an agent and return the report of it. Its port is given where all agents are known.

    `sampling` are the values that counted where the source says none, and why.
    """
    lines: list[Line] = []

    def add(field: str, value: Any, why: str) -> None:
        agent[field] = value
        lines.append(import_source.added(file, field, value, why))

    limit = longest(agent)
    if "max_model_len" not in agent and limit:
        add("max_model_len", min(limit, _MOST_TOKENS), f"Nothing was said; the model goes to {limit}.")
    elif "max_model_len" not in agent:
        add("max_model_len", _UNKNOWN_TOKENS, "Nothing was said, and the model's own limit is not known: write yours.")
    elif limit and agent["max_model_len"] > limit:
        add("max_model_len", limit, f"Its models go no further, and {agent['max_model_len']} was asked for.")
    if agent["max_model_len"] > FEWEST_TOKENS and "max_model_len_min" not in agent:
        add("max_model_len_min", FEWEST_TOKENS, "So far the plan may go down where the card does not hold more.")
    if "gpu_memory_utilization" not in agent:
        share = engine_defaults.UTILIZATION
        add("gpu_memory_utilization", share, "Nothing was said; it is vLLM's default.")
    for field, (value, why) in sampling.items():
        if field not in agent:
            add(field, value, f"Nothing was said; {why}")
    return lines


def given(agent: Agent, file: str, model: str | None) -> list[Line]:
    """Add the model that the caller names where the source names none, and return the report of it."""
    if "models" in agent or not model:
        return []
    found = import_models.propose(model)
    if found.models:
        agent["models"] = found.models
        return [import_source.added(file, "models", found.models, f"As --model says. {found.why}.")]
    return [Line(file, None, f"--model {model}", import_source.LEFT, "", "", f"{found.why}.")]


def longest(agent: Agent) -> int | None:
    """Return how far the agent's models go, None when one of them is not known."""
    own = [catalog.find(each["model"]) for each in agent.get("models", [])]
    limits = [found.architecture.max_position_embeddings if found else None for found in own]
    return None if None in limits or not limits else max(limit for limit in limits if limit)
