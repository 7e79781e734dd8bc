"""What a choice decides of each agent of a roster, on one host: in the words that the plan keeps.

A decision stays as long as the roster asks for the same on the same cards, so that the second run changes nothing; an
engine that stated meanwhile that it does not fit is decided anew.
"""

from __future__ import annotations

import hashlib
import json
from types import MappingProxyType
from typing import Any, NamedTuple

from . import cards, fit_text, measured, roster_models
from .candidates import Measurements, Wish, base, with_measured
from .cards import HostCard
from .catalog import Model, Unknown
from .choice import Choice, choose
from .fit import NO, UNKNOWN, Question, fit

Agent = dict[str, Any]

# What a choice decides of an agent. It stays as long as the agent asks for the same (see `_kept`).
_DECIDED = (
    *(
        "taken",
        "model",
        "revision",
        "quantization",
        "verdict",
        "given_up",
        "refused",
        "max_model_len",
        "kv_cache_dtype",
    ),
    *("gpu_memory_utilization", "max_num_seqs", "max_num_batched_tokens", "gpus", "fit"),
)
# The settings of the roster that a choice depends on.
_ASKED = (
    *("models", "max_model_len", "max_model_len_min", "give_up", "policy", "kv_cache_dtype", "gpus", "max_num_seqs"),
    *("max_num_batched_tokens", "enforce_eager", "gpu_memory_utilization", "speculative_config"),
)


class Host(NamedTuple):
    """What is known of a host: its cards, the config.json of its own folders, what its engines stated, what it runs.

    `again` asks for a new choice also where the roster still asks for what is deployed.
    """

    cards: tuple[HostCard, ...] = ()
    configs: roster_models.Configs = MappingProxyType({})
    measurements: Measurements = MappingProxyType({})
    deployed: dict[str, Any] | None = None
    again: bool = False


def host_of(facts: dict[str, Any] | None, memory_gb: float | None = None, again: bool = False) -> Host:
    """Return the host of the facts that the module roundhouse_plan_facts gathers; nothing is known for None."""
    facts = facts or {}
    return Host(
        cards.of_host(facts.get("gpus", []), memory_gb),
        facts.get("configs", {}),
        measured.lookup(facts.get("measured", []), facts.get("configs", {})),
        facts.get("deployed"),
        again,
    )


def decide(roster: list[Agent], host: Host, accelerator: str) -> list[dict[str, Any]]:
    """Return what is decided for each agent, in the roster's order: `_DECIDED` and `wish`, a hash of what was asked."""
    deployed = {agent["name"]: agent for agent in (host.deployed or {}).get("agents", [])}
    load: dict[int, int] = {}
    made = []
    for agent in roster:
        wish = wish_of(agent, host.configs)
        asked = _hash(agent, wish, host.cards)
        before = deployed.get(agent["name"], {})
        blind = _blind(accelerator, host.cards, wish)
        if blind:
            decision = _as_asked(agent, wish, blind, accelerator)
        elif before.get("wish") == asked and not host.again and _kept(before, wish, host):
            decision = {name: before[name] for name in _DECIDED}
        else:
            decision = _decision(agent, wish, choose(wish, host.cards, load, host.measurements))
        for index in decision["gpus"]:
            load[index] = load.get(index, 0) + 1
        made.append(decision | {"wish": asked})
    return made


def wish_of(agent: Agent, configs: roster_models.Configs) -> Wish:
    """Return what a valid agent of the roster asks for."""
    draft = (agent.get("speculative_config") or {}).get("model")
    same = ("max_model_len_min", "kv_cache_dtype", "max_num_seqs", "max_num_batched_tokens", "enforce_eager")
    settings: dict[str, Any] = {name: agent[name] for name in same if name in agent}
    settings |= {name: tuple(agent[name]) for name in ("give_up", "gpus") if name in agent}
    return Wish(
        models=tuple(roster_models.find(entry, configs) for entry in agent["models"]),
        max_model_len=agent["max_model_len"],
        gpu_memory_utilization=agent["gpu_memory_utilization"],
        exact=agent.get("policy") == "exact",
        draft=roster_models.find({"model": draft}, configs) if draft else None,
        **settings,
    )


def _blind(accelerator: str, known: tuple[HostCard, ...], wish: Wish) -> str | None:
    """Return why nothing can be computed, None when it can."""
    if accelerator == "cpu":
        return "The engine runs on the CPU, so there is no card to fit."
    if not known:
        return "No GPU of this host is known."
    beyond = [index for index in wish.gpus or () if index >= len(known)]
    if beyond:
        return f"This host has no GPU {beyond[0]}."
    if any(card.cuda_gib is None for card in known):
        return "The card's memory is not known before its driver is there: set gpu_memory_gb to plan without it."
    if isinstance(wish.draft, Unknown):
        return wish.draft.reason
    return None


def _as_asked(agent: Agent, wish: Wish, why: str, accelerator: str) -> dict[str, Any]:
    """Decide without a card: the first model, as the roster asks for it, and nothing is promised."""
    first = agent["models"][0]
    limits = {name: agent.get(name) for name in ("max_num_seqs", "max_num_batched_tokens")}
    if accelerator == "cuda":
        limits = {"max_num_seqs": wish.max_num_seqs, "max_num_batched_tokens": wish.max_num_batched_tokens}
    return {
        **{name: first.get(name) for name in ("model", "revision", "quantization")},
        "taken": True,
        "verdict": UNKNOWN,
        "given_up": [],
        "refused": [why],
        "max_model_len": wish.max_model_len,
        "kv_cache_dtype": wish.kv_cache_dtype,
        "gpu_memory_utilization": wish.gpu_memory_utilization,
        **limits,
        "gpus": list(wish.gpus or (0,)),
        "fit": None,
    }


def _decision(agent: Agent, wish: Wish, made: Choice) -> dict[str, Any]:
    entry = agent["models"][made.model]
    question = made.question
    return {
        "taken": made.taken,
        **{name: entry.get(name) for name in ("model", "revision", "quantization")},
        "verdict": made.verdict,
        "given_up": [each._asdict() for each in made.given_up],
        # The taken model's own earlier attempts are told by what was given up for it.
        "refused": [made.refused[index] for index in sorted(made.refused) if index != made.model or not made.given_up],
        "max_model_len": question.max_model_len if question else wish.max_model_len,
        "kv_cache_dtype": question.kv_cache_dtype if question else wish.kv_cache_dtype,
        "gpu_memory_utilization": question.gpu_memory_utilization if question else wish.gpu_memory_utilization,
        "max_num_seqs": wish.max_num_seqs,
        "max_num_batched_tokens": wish.max_num_batched_tokens,
        "gpus": list(made.gpus),
        "fit": _numbers(made),
    }


def _numbers(made: Choice) -> dict[str, Any] | None:
    if made.question is None or made.fit is None:
        return None
    card = {"card_gib": round(made.question.card_gib, 2), "format": made.question.model.form.name}
    return card | fit_text.numbers(made.fit)


def question_of(decided: dict[str, Any], wish: Wish, host: Host) -> Question | None:
    """Return the question that a decision answered, with today's measurements; None where nothing was computed."""
    taken = next((model for model in wish.models if model.name == decided["model"]), None)
    if decided["fit"] is None or not isinstance(taken, Model):
        return None
    group = tuple(host.cards[number] for number in decided["gpus"])
    same = ("kv_cache_dtype", "max_model_len", "gpu_memory_utilization")
    return with_measured(base(wish, taken, group)._replace(**{name: decided[name] for name in same}), host.measurements)


def _kept(before: dict[str, Any], wish: Wish, host: Host) -> bool:
    """Return whether what is deployed stays: it was computed, and no engine stated meanwhile that it does not fit."""
    question = question_of(before, wish, host)
    return question is not None and fit(question).verdict != NO


def _hash(agent: Agent, wish: Wish, known: tuple[HostCard, ...]) -> str:
    asked = {name: agent.get(name) for name in _ASKED}
    facts = [[card.cuda_gib and round(card.cuda_gib, 1), card.capability, card.shared_display] for card in known]
    models = [[model.name, isinstance(model, Model)] for model in wish.models]
    return hashlib.sha256(json.dumps([asked, facts, models], sort_keys=True).encode()).hexdigest()[:16]
