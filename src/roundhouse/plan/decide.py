"""What a reader of the roster would not expect of the plan, or could have easier: the plan's notes.

From an agent of the roster to a wish, and whether it is the same wish as before.

What a choice decides of each agent of a roster, on one host: in the words that the plan keeps.

A decision stays as long as the roster asks for the same on the same cards, so that the second run changes nothing; an
engine that stated meanwhile that it does not fit is decided anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ..catalog import gpus
from ..catalog import models as catalog_models
from ..catalog.gpus import HostCard
from ..catalog.models import Model, Unknown
from ..catalog.recipes import RECIPES
from ..fit import report
from ..fit.estimate import NO, UNKNOWN, Question, fit
from ..roster import models as roster_models
from ..roster.fields import MAX_NUM_SEQS
from . import measured
from .candidates import Measurements, Wish, base, with_measured
from .choose import Choice, choose
from .compose import Means

Agent = dict[str, Any]


def of_choice(agent: Agent, wish: Wish, made: Choice) -> list[str]:
    """Return sentences on what a reader of the roster would not expect."""
    found = []
    question, asked = made.question, wish.gpu_memory_utilization
    if question and made.fit and question.gpu_memory_utilization < asked:
        outside = sum(term.gib for term in made.fit.terms if not term.inside)
        found.append(
            f"gpu_memory_utilization {asked:g} is lowered to {question.gpu_memory_utilization:g}: about "
            f"{outside:.2f} GiB of the card are needed beside it."
        )
    found += of_entry(agent["models"][made.model])
    if wish.exact and len(wish.models) > 1:
        found.append("policy exact looks at the first model only.")
    return found


def of_entry(entry: dict[str, Any]) -> list[str]:
    """Return a sentence where the hub has already what an entry's recipe would make."""
    recipe = RECIPES.get(entry.get("quantize") or "")
    known = catalog_models.quantized(entry["model"], recipe.bits) if recipe else None
    return [f"{known} is published with as many bits: named in its place, it spares the quantizing."] if known else []


# The settings of the roster that a choice depends on.
_ASKED = (
    *("models", "max_model_len", "max_model_len_min", "give_up", "policy", "kv_cache_dtype", "gpus", "max_num_seqs"),
    *("max_num_batched_tokens", "enforce_eager", "gpu_memory_utilization", "speculative_config"),
)


def wish_of(agent: Agent, configs: roster_models.Configs) -> Wish:
    """Return what a valid agent of the roster asks for."""
    draft = (agent.get("speculative_config") or {}).get("model")
    same = ("max_model_len_min", "kv_cache_dtype", "max_num_seqs", "max_num_batched_tokens", "enforce_eager")
    settings: dict[str, Any] = {name: agent[name] for name in same if name in agent}
    settings |= {name: tuple(agent[name]) for name in ("give_up", "gpus") if name in agent}
    if "max_num_seqs" not in settings:
        # vLLM refuses more sequences than a step has tokens (config/scheduler.py).
        settings["max_num_seqs"] = min(MAX_NUM_SEQS, settings.get("max_num_batched_tokens", MAX_NUM_SEQS))
    return Wish(
        models=tuple(roster_models.find(entry, configs) for entry in agent["models"]),
        max_model_len=agent["max_model_len"],
        gpu_memory_utilization=agent["gpu_memory_utilization"],
        exact=agent.get("policy") == "exact",
        draft=roster_models.find({"model": draft}, configs) if draft else None,
        speculates="speculative_config" in agent,
        **settings,
    )


def key(agent: Agent, wish: Wish, known: tuple[HostCard, ...]) -> str:
    """Return a word that is the same as long as the agent asks for the same on the same cards."""
    asked = {name: agent.get(name) for name in _ASKED}
    facts = [
        [card.cuda_gib and round(card.cuda_gib, 1), card.capability, card.shared_display, card.kernels]
        for card in known
    ]
    models = [[model.name, isinstance(model, Model)] for model in wish.models]
    return hashlib.sha256(json.dumps([asked, facts, models], sort_keys=True).encode()).hexdigest()[:16]


# What a choice decides of an agent. It stays as long as the agent asks for the same (see `_kept`).
_DECIDED = (
    *("taken", "waits", "model", "revision", "quantization", "quantize", "verdict"),
    *("given_up", "refused", "notes"),
    *("max_model_len", "kv_cache_dtype", "gpu_memory_utilization", "max_num_seqs", "max_num_batched_tokens"),
    *("gpus", "fit"),
)


# Of an entry of an agent's models.
_NAMED = ("model", "revision", "quantization", "quantize")


class Host(NamedTuple):
    """What is known of a host: its cards, the config.json of its own folders, what its engines stated, what it runs.

    `stamps` stand for the revisions of own folders (quantized.py); `disk` and `starts` are what the limit of a start is
    computed from (start_limit.py); `means` is what its container engine offers. `again` asks for a new choice also
    where the roster still asks for what is deployed.
    """

    cards: tuple[HostCard, ...] = ()
    configs: roster_models.Configs = MappingProxyType({})
    measurements: Measurements = MappingProxyType({})
    deployed: dict[str, Any] | None = None
    again: bool = False
    stamps: Mapping[str, str] = MappingProxyType({})
    disk: Mapping[str, dict[str, Any]] = MappingProxyType({})
    starts: tuple[dict[str, Any], ...] = ()
    means: Means = Means()


def host_of(facts: dict[str, Any] | None, memory_gb: float | None = None, again: bool = False) -> Host:
    """Return the host of the facts that the module roundhouse_plan_facts gathers; nothing is known for None."""
    facts = facts or {}
    return Host(
        gpus.of_host(facts.get("gpus", []), memory_gb),
        facts.get("configs", {}),
        measured.lookup(facts.get("measured", []), facts.get("configs", {})),
        facts.get("deployed"),
        again,
        facts.get("stamps", {}),
        facts.get("disk", {}),
        tuple(facts.get("starts", ())),
        Means(**facts.get("means", {}), uuids=tuple(gpu.get("uuid") for gpu in facts.get("gpus", []))),
    )


def decide(roster: list[Agent], host: Host, accelerator: str) -> list[dict[str, Any]]:
    """Return what is decided for each agent, in the roster's order: `_DECIDED` and `wish`, a hash of what was asked."""
    deployed = {agent["name"]: agent for agent in (host.deployed or {}).get("agents", [])}
    load: dict[int, int] = {}
    made = []
    for agent in roster:
        wish = wish_of(agent, host.configs)
        asked = key(agent, wish, host.cards)
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


class _Blind(NamedTuple):
    """Why nothing can be computed; `waits` where that changes once the host has its driver."""

    why: str
    waits: bool


def _blind(accelerator: str, known: tuple[HostCard, ...], wish: Wish) -> _Blind | None:
    if accelerator == "cpu":
        return _Blind("The engine runs on the CPU, so there is no card to fit.", False)
    if not known:
        return _Blind("No GPU of this host is known.", True)
    if any(number >= len(known) for number in wish.gpus or ()):
        return _Blind("Not all of its cards are there.", False)
    if any(card.cuda_gib is None for card in known):
        why = "The card's memory is not known before its driver is there: set gpu_memory_gb to plan without it."
        return _Blind(why, True)
    return _Blind(wish.draft.reason, False) if isinstance(wish.draft, Unknown) else None


def _as_asked(agent: Agent, wish: Wish, blind: _Blind, accelerator: str) -> dict[str, Any]:
    """Decide without a card: the first model, as the roster asks for it, and nothing is promised."""
    first = agent["models"][0]
    limits = {name: agent.get(name) for name in ("max_num_seqs", "max_num_batched_tokens")}
    if accelerator == "cuda":
        limits = {"max_num_seqs": wish.max_num_seqs, "max_num_batched_tokens": wish.max_num_batched_tokens}
    return {
        **{name: first.get(name) for name in _NAMED},
        "taken": True,
        "waits": blind.waits,
        "verdict": UNKNOWN,
        "given_up": [],
        "refused": [blind.why],
        "notes": of_entry(first),
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
        "waits": False,
        **{name: entry.get(name) for name in _NAMED},
        "verdict": made.verdict,
        "given_up": [each._asdict() for each in made.given_up],
        # A computed choice's own earlier attempts are told by what was given up for it.
        "refused": [
            made.refused[index]
            for index in sorted(made.refused)
            if index != made.model or not (made.taken and question)
        ],
        "notes": of_choice(agent, wish, made),
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
    return card | report.numbers(made.fit)


def question_of(decided: dict[str, Any], wish: Wish, host: Host) -> Question | None:
    """Return the question that a decision answered, with today's measurements; None where nothing was computed."""
    if decided["fit"] is None:
        return None
    known = [model for model in wish.models if isinstance(model, Model) and model.name == decided["model"]]
    # The same model may stand twice: as it is, and quantized.
    taken = next((model for model in known if model.form.name == decided["fit"]["format"]), None)
    if taken is None:
        return None
    numbers = tuple(decided["gpus"])
    question = base(wish, taken, tuple(host.cards[number] for number in numbers))
    same = ("kv_cache_dtype", "max_model_len", "gpu_memory_utilization")
    return with_measured(question._replace(**{name: decided[name] for name in same}), numbers, host.measurements)


def _kept(before: dict[str, Any], wish: Wish, host: Host) -> bool:
    """Return whether what is deployed stays: it was computed, and no engine stated meanwhile that it does not fit."""
    if not all(name in before for name in _DECIDED):  # deployed by an earlier version
        return False
    question = question_of(before, wish, host)
    return question is not None and fit(question).verdict != NO
