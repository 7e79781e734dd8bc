"""Decide the model, the cards and the limits of each agent of a roster on one host.

A deployed decision is kept while the agent's requirements and the cards are unchanged, so that a second run changes
nothing. It is computed again if an engine's measurements show that the deployed agent does not fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, cast

from ..catalog.architecture import Model, Unknown
from ..catalog.gpus import HostCard
from ..fit import beside, report
from ..fit.estimate import NO, UNKNOWN, Question, fit
from ..roster.models import Configs
from ..schema.plan import Agent, Decided, Decision, FitRow, Plan, PlanCard
from ..schema.roster import WantedAgent
from . import host_cards
from .candidates import Measurements, Requirements, as_wanted, lookup, with_measured
from .choose import Choice, choose, first_usable
from .compose import Means
from .requirements import fingerprint, notes_on_choice, notes_on_model, requirements_of

if TYPE_CHECKING:
    from roundhouse.schema.facts import Disk, KnownStart, MeansFacts, PlanFacts

# All fields of a decision are kept together (see `_stays`).
_DECISION = tuple(Decision.__annotations__)


class Host(NamedTuple):
    """The facts of a host: its cards by number, `other_cards` without one, its measurements and its deployed plan.

    `configs` are the config.json of its own model folders; `stamps` replace their revisions (models/own_folders.py).
    `disk` and `starts` are the inputs of a start's time limit (start_timeout.py). `means` are the container engine's
    features. `again` requests a new choice even if the requirements are unchanged.
    """

    cards: tuple[HostCard, ...] = ()
    other_cards: tuple[PlanCard, ...] = ()
    configs: Configs = MappingProxyType({})
    measurements: Measurements = MappingProxyType({})
    deployed: Plan | None = None
    again: bool = False
    stamps: Mapping[str, str] = MappingProxyType({})
    disk: Mapping[str, Disk] = MappingProxyType({})
    starts: tuple[KnownStart, ...] = ()
    means: Means = Means()

    def deployed_agent(self, name: str) -> Agent | None:
        """Return the deployed agent of that name, None if there is none."""
        agents = self.deployed["agents"] if self.deployed else []
        return next((agent for agent in agents if agent["name"] == name), None)


def host_of(facts: PlanFacts | None, memory_gb: float | None = None, again: bool = False) -> Host:
    """Return the host for the facts of the module roundhouse_plan_facts; with None all facts are unknown."""
    if facts is None:
        return Host(again=again)
    cards, configs = facts.get("gpus", []), facts.get("configs", {})
    return Host(
        cards=host_cards.of_facts(cards, memory_gb),
        other_cards=host_cards.without_driver(cards),
        configs=configs,
        measurements=lookup(facts.get("measured", []), configs),
        deployed=facts.get("deployed"),
        again=again,
        stamps=facts.get("stamps", {}),
        disk=facts.get("disk", {}),
        starts=tuple(facts.get("starts", ())),
        means=_means(facts.get("means")),
    )


def _means(facts: MeansFacts | None) -> Means:
    if facts is None:
        return Means()
    return Means(
        tuple(facts.get("cdi", ())),
        tuple(facts.get("runtimes", ())),
        facts.get("open_files"),
        facts.get("labels", False),
        facts.get("memory_gib"),
    )


def decide(roster: list[WantedAgent], host: Host, accelerator: str) -> list[Decided]:
    """Return the decision for each agent, in the roster's order."""
    load: dict[int, int] = {}
    made: list[Decided] = []
    for agent in roster:
        wanted = requirements_of(agent, host.configs)
        asked = fingerprint(agent, wanted, host.cards)
        before = host.deployed_agent(agent["name"])
        decision: Decision
        if reason := _obstacle(accelerator, host.cards, wanted):
            decision = _as_asked(
                agent, wanted._replace(gpus=wanted.gpus or first_usable(host.cards)), reason, accelerator
            )
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
    """The reason why no fit can be computed; `waits` is true if it can be after the driver is installed."""

    reason: str
    waits: bool = False


def _obstacle(accelerator: str, cards: tuple[HostCard, ...], wanted: Requirements) -> _Obstacle | None:
    if accelerator == "cpu":
        return _Obstacle("The engine runs on the CPU, so no card's memory is checked.")
    if not cards:
        return _Obstacle("No GPU of this host is known.", waits=True)
    usable = [card for card in cards if not card.unusable]
    # The plan has a problem of these: build.settings_problems.
    if not usable or any(number >= len(cards) or cards[number].unusable for number in wanted.gpus or ()):
        return _Obstacle("The host lacks some of its cards.")
    unified = any(card.system_gib is not None for card in usable)
    if unified and wanted.gpu_memory_utilization > beside.UNIFIED_SHARE:
        return _Obstacle("gpu_memory_utilization is too high for a card that shares the host's memory.")
    if any(card.cuda_gib is None for card in usable):
        reason = "The card's memory is unknown until its driver is installed: set gpu_memory_gb to plan without it."
        return _Obstacle(reason, waits=True)
    return _Obstacle(wanted.draft.reason) if isinstance(wanted.draft, Unknown) else None


def _as_asked(agent: WantedAgent, wanted: Requirements, obstacle: _Obstacle, accelerator: str) -> Decision:
    """Return the decision without a fit: the first model with the roster's settings, and the verdict unknown."""
    first = Choice(taken=True, model=0, verdict=UNKNOWN, gpus=wanted.gpus or (0,), refused={0: obstacle.reason})
    decision = _chosen(agent, wanted, first)
    decision["waits"], decision["notes"] = obstacle.waits, notes_on_model(agent["models"][0])
    if accelerator == "cpu":  # the plan computes no defaults for a CPU, so vLLM's own apply
        decision["max_num_seqs"] = agent.get("max_num_seqs")
        decision["max_num_batched_tokens"] = agent.get("max_num_batched_tokens")
    return decision


def _chosen(agent: WantedAgent, wanted: Requirements, made: Choice) -> Decision:
    entry = agent["models"][made.model]
    # If nothing was computed, the roster's limits apply.
    limits = made.question or wanted
    fitted: FitRow | None = None
    if made.question and made.fit:
        of_card = round(made.question.card_gib, 2)
        left = {term.name: round(term.gib, 2) for term in made.fit.terms}
        fitted = {
            "card_gib": of_card,
            "format": made.question.model.form.name,
            "desktop_gib": left.get(beside.DISPLAY_RESIDENT.name),
            "system_gib": left.get(beside.SYSTEM.name),
            **report.numbers(made.fit),
        }
    # For a computed choice, given_up already reports the failed attempts with the chosen model.
    reported = made.model if made.taken and made.question else None
    return {
        "taken": made.taken,
        "waits": False,
        "model": entry["model"],
        "revision": entry.get("revision"),
        "quantization": entry.get("quantization"),
        "quantize": entry.get("quantize"),
        "verdict": made.verdict,
        "given_up": list(made.given_up),
        "refused": [made.refused[index] for index in sorted(made.refused) if index != reported],
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
    """Return the question of a decision, with the current measurements; None if nothing was computed."""
    if decided["fit"] is None:
        return None
    # The roster may name a model twice: in its own format, and quantized.
    name, form = decided["model"], decided["fit"]["format"]
    known = (model for model in wanted.models if isinstance(model, Model))
    taken = next((model for model in known if (model.name, model.form.name) == (name, form)), None)
    if taken is None:
        return None
    group = tuple(host.cards[number] for number in decided["gpus"] if number < len(host.cards))
    if len(group) < len(decided["gpus"]) or any(card.unusable for card in group):
        return None
    question = as_wanted(wanted, taken, group)._replace(
        kv_cache_dtype=decided["kv_cache_dtype"],
        max_model_len=decided["max_model_len"],
        gpu_memory_utilization=decided["gpu_memory_utilization"],
    )
    return with_measured(question, group, host.measurements)


def _stays(before: Agent, wanted: Requirements, host: Host) -> bool:
    """Return true if the deployed decision is kept: it was computed, and no later measurement contradicts it."""
    if not all(name in before for name in _DECISION):  # deployed by an earlier version
        return False
    question = question_of(before, wanted, host)
    return question is not None and fit(question).verdict != NO
