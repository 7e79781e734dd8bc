"""What a choice decides of each agent of a roster, on one host: in the words that the plan keeps.

A decision stays as long as the roster asks for the same on the same cards, so that the second run changes nothing; an
engine that stated meanwhile that it does not fit is decided anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from . import advice, cards, fit_text, measured, roster_models
from .candidates import Measurements, Wish, base, with_measured
from .cards import HostCard
from .catalog import Model, Unknown
from .choice import Choice, choose
from .compose import Means
from .fit import NO, UNKNOWN, Question, fit
from .wishes import key, wish_of

Agent = dict[str, Any]

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
        cards.of_host(facts.get("gpus", []), memory_gb),
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
        "notes": advice.of_entry(first),
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
        "notes": advice.of_choice(agent, wish, made),
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
