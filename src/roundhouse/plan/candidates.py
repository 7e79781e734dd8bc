"""List what the choice tries for an agent, in which order: models, sets of cards, and what is given up step by step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ..catalog.gpus import HostCard
from ..catalog.model_families import Model, Unknown
from ..fit import overhead
from ..fit.estimate import FITS, Measured, Question, fit
from ..fit.sizes import BLOCK_TOKENS, tokens
from ..roster import models
from ..roster.fields import GIVE_UP, MAX_NUM_BATCHED_TOKENS, MAX_NUM_SEQS
from ..schema.facts import Measurement
from ..schema.roster import WantedModel
from ..util.units import GIB
from ..vllm import defaults
from ..vllm import kernels as vllm_kernels
from ..vllm.formats import KV_DTYPE_BYTES

KV_CACHE_DTYPE, MAX_MODEL_LEN, MODEL = GIVE_UP
# A length that was given up is a round number.
_ROUND_TOKENS = 1024

Group = tuple[HostCard, ...]


class Configuration(NamedTuple):
    """What an engine's own memory depends on: not the card's size, its share of it, or the length of a request."""

    model: str
    form: str
    kv_cache_dtype: str
    gpus: tuple[int, ...]
    max_num_seqs: int | None
    max_num_batched_tokens: int | None
    enforce_eager: bool
    draft: str | None
    kernels: bool


Measurements = Mapping[Configuration, Measured]


def configuration(
    settings: Mapping[str, object], model: Model, gpus: Iterable[int], draft: str | None
) -> Configuration:
    """Return the configuration of a question or a measurement, whose other settings have the same names."""
    own = {"model": model.name, "form": model.form.name, "gpus": tuple(gpus), "draft": draft}
    values: dict[str, Any] = {name: settings[name] for name in Configuration._fields if name not in own} | own
    return Configuration(**values)


class Requirements(NamedTuple):
    """What an agent asks for, in the roster's words. `gpus` of None leaves the cards to the plan."""

    models: tuple[Model | Unknown, ...]
    max_model_len: int
    gpu_memory_utilization: float
    give_up: tuple[str, ...] = GIVE_UP
    max_model_len_min: int | None = None
    exact: bool = False
    kv_cache_dtype: str = "auto"
    gpus: tuple[int, ...] | None = None
    max_num_seqs: int = MAX_NUM_SEQS
    max_num_batched_tokens: int = MAX_NUM_BATCHED_TOKENS
    enforce_eager: bool = False
    draft: Model | Unknown | None = None
    speculates: bool = False


def card_sets(cards: Group, wanted: tuple[int, ...] | None, load: Mapping[int, int]) -> Iterator[list[Group]]:
    """Yield the sets of cards to try, in lists of sets that differ in memory and load alone, the best first.

    Those that are asked for, else one card, then two, four, eight of one compute capability. Of several sets the one
    with the fewest agents stands first, so that agents spread over a host.
    """
    if wanted is not None:
        yield [tuple(cards[number] for number in wanted)]
        return
    idle_first = sorted(cards, key=lambda card: (load.get(card.number, 0), card.number))
    ranks = 1
    while ranks <= len(cards):
        for kind in _kinds(idle_first, ranks):
            if ranks == 1:
                yield [(card,) for card in kind]
            elif len(kind) >= ranks:
                roomiest = sorted(kind, key=lambda card: -(card.cuda_gib or 0.0))[:ranks]
                yield [_in_order(kind[:ranks]), _in_order(roomiest)]
        ranks *= 2


def room_gib(group: Group) -> float:
    """Return what each card of a set has at least; ranks are alike, so the smallest card counts."""
    return min(card.cuda_gib or 0.0 for card in group)


def _kinds(cards: list[HostCard], ranks: int) -> Iterator[list[HostCard]]:
    """Yield the cards by what an engine cannot mix; those without a display first, then with it."""
    for capability in dict.fromkeys(card.capability for card in cards):
        same = [card for card in cards if card.capability == capability]
        free = [card for card in same if not card.shared_display]
        if free:
            yield free
        if len(free) < len(same):
            yield [card for card in same if card.shared_display] if ranks == 1 else same


def _in_order(cards: list[HostCard]) -> Group:
    return tuple(sorted(cards, key=lambda card: card.number))


def attempts(wanted: Requirements) -> Iterator[tuple[int, frozenset[str]]]:
    """Yield the index of a model and the settings that are given up for it, in the order in which they are tried.

    What stands before `model` in give_up is given up within each model, before the next model is tried. What stands
    behind it is given up last of all: all models are tried again, each with everything from before `model` given up.
    """
    order = () if wanted.exact else wanted.give_up
    at = order.index(MODEL) if MODEL in order else len(order)
    before = [setting for setting in order[:at] if _can_give_up(wanted, setting)]
    behind = [setting for setting in order[at + 1 :] if _can_give_up(wanted, setting)]
    models = range(len(wanted.models)) if MODEL in order else range(1)
    for last in range(len(behind) + 1):
        for index in models:
            # From the second round on nothing less than all of `before` is new.
            for first in range(len(before) if last else 0, len(before) + 1):
                yield index, frozenset([*before[:first], *behind[:last]])


def _can_give_up(wanted: Requirements, setting: str) -> bool:
    if setting == KV_CACHE_DTYPE:
        return KV_DTYPE_BYTES[wanted.kv_cache_dtype] > 1
    return wanted.max_model_len_min is not None


def as_wanted(wanted: Requirements, model: Model, group: Group) -> Question:
    """Return the question for a model as the roster asks for it, on these cards: the least of each counts."""
    return Question(
        model=model,
        card_gib=room_gib(group),
        max_model_len=wanted.max_model_len,
        gpu_memory_utilization=wanted.gpu_memory_utilization,
        kv_cache_dtype=wanted.kv_cache_dtype,
        tensor_parallel_size=len(group),
        max_num_seqs=wanted.max_num_seqs,
        max_num_batched_tokens=wanted.max_num_batched_tokens,
        enforce_eager=wanted.enforce_eager,
        capability=min((card.capability for card in group if card.capability), default=None),
        bandwidth_gb_s=min((card.bandwidth_gb_s for card in group if card.bandwidth_gb_s), default=None),
        shared_display=any(card.shared_display for card in group),
        draft=wanted.draft if isinstance(wanted.draft, Model) else None,
        speculates=wanted.speculates,
        tries_kernels=False,  # vllm/options.py sees to it
        kernels=all(card.kernels for card in group),
    )


def settle(
    wanted: Requirements, question: Question, group: Group, *, given_up: frozenset[str], measured: Measurements
) -> Question:
    """Return the question with what is given up, what was measured, and as much of the cards as it can have."""
    oldest = vllm_kernels.kv_fp8_since(kernels=question.kernels)
    if KV_CACHE_DTYPE in given_up and (question.capability is None or question.capability >= oldest):
        question = question._replace(kv_cache_dtype="fp8")
    question = with_measured(question, group, measured)
    if not wanted.exact:
        question = _with_room_outside(question)
    return _shortened(question, wanted.max_model_len_min or 1) if MAX_MODEL_LEN in given_up else question


def with_measured(question: Question, group: Group, measured: Measurements) -> Question:
    """Return the question with what an engine stated that ran in the same configuration, if one did."""
    if not measured:
        return question
    draft = question.draft.name if question.draft else None
    ran = configuration(question._asdict(), question.model, (card.number for card in group), draft)
    return question._replace(measured=measured.get(ran))


def _with_room_outside(question: Question) -> Question:
    """Lower gpu_memory_utilization, an upper bound, to leave the card what the engine takes beside its share."""
    terms = list(fit(question).terms)
    outside = sum(term.gib for term in terms if not term.inside) + overhead.uncertainty(terms, inside=False)
    highest = math.floor(100 * (1 - outside / question.card_gib)) / 100 if outside < question.card_gib else 0
    return question._replace(gpu_memory_utilization=min(question.gpu_memory_utilization, max(highest, 0.01)))


def _shortened(question: Question, least: int) -> Question:
    """Return the question at the longest max_model_len that fits, no longer than it is and no shorter than `least`."""
    limit = question.model.architecture.max_position_embeddings or question.max_model_len
    question = question._replace(max_model_len=min(question.max_model_len, limit))
    found = fit(question)
    if found.verdict == FITS or found.kv_gib_per_rank is None or found.kv_bytes_per_token_per_rank is None:
        return question
    sure_gib = max(0.0, found.kv_gib_per_rank - (found.uncertainty_gib or 0.0))
    longest = tokens(sure_gib * GIB, found.kv_bytes_per_token_per_rank)
    step = _ROUND_TOKENS if longest >= _ROUND_TOKENS else BLOCK_TOKENS
    return question._replace(max_model_len=min(max(longest // step * step, least), question.max_model_len))


def lookup(entries: list[Measurement], configs: models.Configs) -> Measurements:
    """Return the terms of measured.load's entries by configuration, as choose.py looks them up."""
    found = {}
    for each in entries:
        model = models.find(_named(each), configs)
        weights_gib, kv_gib, cuda_gib = each.get("weights_gib"), each.get("kv_gib"), each.get("cuda_gib")
        if not isinstance(model, Model) or each["engine"] != defaults.PINNED:
            continue
        if weights_gib is not None and kv_gib is not None and cuda_gib is not None:
            overhead_gib = cuda_gib * each["gpu_memory_utilization"] - weights_gib - kv_gib
            ran = configuration(each, model, each["gpus"], each["draft_model"])
            found[ran] = Measured(weights_gib, overhead_gib)
    return found


def _named(each: Measurement) -> WantedModel:
    """Return the entry of a roster's `models` that a measurement is of."""
    made: WantedModel = {"model": each["model"]}
    if each["quantization"]:
        made["quantization"] = each["quantization"]
    if each.get("quantize"):
        made["quantize"] = str(each["quantize"])
    return made
