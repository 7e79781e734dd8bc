"""Decide for each agent of a roster, on one host, which model it gets, on which cards, and with what limits.

A decision stays as long as the roster asks for the same on the same cards, so that the second run changes nothing. A
deployed agent whose engine stated meanwhile that it does not fit is decided again.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, cast

from ..catalog import gpus
from ..catalog.gpus import HostCard
from ..catalog.model_families import Model, Unknown
from ..fit import report
from ..fit.estimate import NO, UNKNOWN, Question, fit
from ..roster.models import Configs
from ..schema.facts import Disk, KnownStart, MeansFacts, PlanFacts
from ..schema.plan import Agent, Decided, Decision, FitRow, Plan
from ..schema.roster import WantedAgent
from .candidates import Measurements, Requirements, as_wanted, lookup, with_measured
from .choose import Choice, choose
from .compose import Means
from .requirements import fingerprint, notes_on_choice, notes_on_model, requirements_of

# A decision stays as a whole (see `_stays`).
_DECISION = tuple(Decision.__annotations__)


class Host(NamedTuple):
    """What is known of a host: its cards, the config.json of its own folders, what its engines stated, what it runs.

    `stamps` stand for the revisions of own folders (models/own_folders.py); `disk` and `starts` are what the limit of a
    start is computed from (start_timeout.py); `means` is what its container engine offers. `again` asks for a new
    choice also where the roster still asks for what is deployed.
    """

    cards: tuple[HostCard, ...] = ()
    configs: Configs = MappingProxyType({})
    measurements: Measurements = MappingProxyType({})
    deployed: Plan | None = None
    again: bool = False
    stamps: Mapping[str, str] = MappingProxyType({})
    disk: Mapping[str, Disk] = MappingProxyType({})
    starts: tuple[KnownStart, ...] = ()
    means: Means = Means()

    def deployed_agent(self, name: str) -> Agent | None:
        """Return the agent of that name that is deployed, None for none."""
        agents = self.deployed["agents"] if self.deployed else []
        return next((agent for agent in agents if agent["name"] == name), None)


def host_of(facts: PlanFacts | None, memory_gb: float | None = None, again: bool = False) -> Host:
    """Return the host of the facts that the module roundhouse_plan_facts gathers; nothing is known for None."""
    if facts is None:
        return Host(again=again)
    cards, configs = facts.get("gpus", []), facts.get("configs", {})
    return Host(
        cards=gpus.of_host(cards, memory_gb),
        configs=configs,
        measurements=lookup(facts.get("measured", []), configs),
        deployed=facts.get("deployed"),
        again=again,
        stamps=facts.get("stamps", {}),
        disk=facts.get("disk", {}),
        starts=tuple(facts.get("starts", ())),
        means=_means(facts.get("means"), tuple(card.get("uuid") for card in cards)),
    )


def _means(told: MeansFacts | None, uuids: tuple[str | None, ...]) -> Means:
    if told is None:
        return Means(uuids=uuids)
    return Means(tuple(told.get("cdi", ())), tuple(told.get("runtimes", ())), told.get("open_files"), uuids)


def decide(roster: list[WantedAgent], host: Host, accelerator: str) -> list[Decided]:
    """Return what is decided for each agent, in the roster's order."""
    load: dict[int, int] = {}
    made: list[Decided] = []
    for agent in roster:
        wanted = requirements_of(agent, host.configs)
        asked = fingerprint(agent, wanted, host.cards)
        before = host.deployed_agent(agent["name"])
        decision: Decision
        if reason := _obstacle(accelerator, host.cards, wanted):
            decision = _as_asked(agent, wanted, reason, accelerator)
        elif before and before.get("fingerprint") == asked and not host.again and _stays(before, wanted, host):
            kept: Mapping[str, object] = before
            decision = cast("Decision", {name: kept[name] for name in _DECISION})
        else:
            decision = _chosen(agent, wanted, choose(wanted, host.cards, load, host.measurements))
        for index in decision["gpus"]:
            load[index] = load.get(index, 0) + 1
        made.append({**decision, "fingerprint": asked})
    return made


class _Obstacle(NamedTuple):
    """Why nothing can be computed; `waits` where that changes once the host has its driver."""

    reason: str
    waits: bool = False


def _obstacle(accelerator: str, cards: tuple[HostCard, ...], wanted: Requirements) -> _Obstacle | None:
    if accelerator == "cpu":
        return _Obstacle("The engine runs on the CPU, so there is no card to fit.")
    if not cards:
        return _Obstacle("No GPU of this host is known.", waits=True)
    if any(number >= len(cards) for number in wanted.gpus or ()):
        return _Obstacle("Not all of its cards are there.")
    if any(card.cuda_gib is None for card in cards):
        reason = "The card's memory is not known before its driver is there: set gpu_memory_gb to plan without it."
        return _Obstacle(reason, waits=True)
    return _Obstacle(wanted.draft.reason) if isinstance(wanted.draft, Unknown) else None


def _as_asked(agent: WantedAgent, wanted: Requirements, obstacle: _Obstacle, accelerator: str) -> Decision:
    """Decide without a card: the first model, as the roster asks for it, and nothing is promised."""
    first = Choice(taken=True, model=0, verdict=UNKNOWN, gpus=wanted.gpus or (0,), refused={0: obstacle.reason})
    decision = _chosen(agent, wanted, first)
    decision["waits"], decision["notes"] = obstacle.waits, notes_on_model(agent["models"][0])
    if accelerator == "cpu":  # no default is computed for one: there vLLM's own count
        decision["max_num_seqs"] = agent.get("max_num_seqs")
        decision["max_num_batched_tokens"] = agent.get("max_num_batched_tokens")
    return decision


def _chosen(agent: WantedAgent, wanted: Requirements, made: Choice) -> Decision:
    entry = agent["models"][made.model]
    # Where nothing was computed, the limits are those of the roster.
    limits = made.question or wanted
    fitted: FitRow | None = None
    if made.question and made.fit:
        of_card = round(made.question.card_gib, 2)
        fitted = {"card_gib": of_card, "format": made.question.model.form.name, **report.numbers(made.fit)}
    # A computed choice's own earlier attempts are told by what was given up for it.
    told = made.model if made.taken and made.question else None
    return {
        "taken": made.taken,
        "waits": False,
        "model": entry["model"],
        "revision": entry.get("revision"),
        "quantization": entry.get("quantization"),
        "quantize": entry.get("quantize"),
        "verdict": made.verdict,
        "given_up": list(made.given_up),
        "refused": [made.refused[index] for index in sorted(made.refused) if index != told],
        "notes": notes_on_choice(agent, wanted, made),
        "max_model_len": limits.max_model_len,
        "kv_cache_dtype": limits.kv_cache_dtype,
        "gpu_memory_utilization": limits.gpu_memory_utilization,
        "max_num_seqs": wanted.max_num_seqs,
        "max_num_batched_tokens": wanted.max_num_batched_tokens,
        "gpus": list(made.gpus),
        "fit": fitted,
    }


def question_of(decided: Decided, wanted: Requirements, host: Host) -> Question | None:
    """Return the question that a decision answered, with today's measurements; None where nothing was computed."""
    if decided["fit"] is None:
        return None
    # The same model may stand twice: as it is, and quantized.
    name, form = decided["model"], decided["fit"]["format"]
    known = (model for model in wanted.models if isinstance(model, Model))
    taken = next((model for model in known if (model.name, model.form.name) == (name, form)), None)
    if taken is None:
        return None
    group = tuple(host.cards[number] for number in decided["gpus"])
    question = as_wanted(wanted, taken, group)._replace(
        kv_cache_dtype=decided["kv_cache_dtype"],
        max_model_len=decided["max_model_len"],
        gpu_memory_utilization=decided["gpu_memory_utilization"],
    )
    return with_measured(question, group, host.measurements)


def _stays(before: Agent, wanted: Requirements, host: Host) -> bool:
    """Return whether what is deployed stays: it was computed, and no engine stated meanwhile that it does not fit."""
    if not all(name in before for name in _DECISION):  # deployed by an earlier version
        return False
    question = question_of(before, wanted, host)
    return question is not None and fit(question).verdict != NO
