"""List the combinations that the choice tries for an agent, in order: models, sets of cards and reductions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..catalog.architecture import Model, Unknown
from ..catalog.gpus import HostCard
from ..fit import overhead
from ..fit.estimate import FITS, Measured, Question, fit, pool
from ..fit.kv_cache import BLOCK_TOKENS
from ..roster import models
from ..roster.fields import GIVE_UP, MAX_NUM_BATCHED_TOKENS, MAX_NUM_SEQS
from ..schema.roster import WantedModel
from ..util.units import GIB
from ..vllm import defaults
from ..vllm import kernels as vllm_kernels
from ..vllm.formats import KV_DTYPE_BYTES

if TYPE_CHECKING:
    from roundhouse.schema.facts import Measurement

KV_CACHE_DTYPE, MAX_MODEL_LEN, MODEL = GIVE_UP
# A reduced max_model_len is a multiple of this.
_ROUND_TOKENS = 1024

Group = tuple[HostCard, ...]


class Configuration(NamedTuple):
    """The settings that determine an engine's overhead. The card's size, the share and max_model_len do not."""

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
    """Return the configuration of a question or a measurement; `settings` has the other fields by name."""
    own = {"model": model.name, "form": model.form.name, "gpus": tuple(gpus), "draft": draft}
    values: dict[str, Any] = {name: settings[name] for name in Configuration._fields if name not in own} | own
    return Configuration(**values)


class Requirements(NamedTuple):
    """An agent's requirements, with the roster's names. With `gpus` of None the plan chooses the cards."""

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
    cpu_offload_gib: float = 0.0
    images: bool = True


def card_sets(cards: Group, wanted: tuple[int, ...] | None, load: Mapping[int, int]) -> Iterator[list[Group]]:
    """Yield the sets of cards to try, in lists of sets that differ only in memory and load, the best first.

    The sets are the requested cards, or one card, then two, four and eight cards of one compute capability. Sets with
    fewer agents come first, so that agents are spread over the host's cards.
    """
    if wanted is not None:
        yield [tuple(cards[number] for number in wanted)]
        return
    cards = tuple(card for card in cards if card.unusable is None)
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
    """Return the GiB of the smallest card of a set, which limits all ranks because they are equal."""
    return min(card.cuda_gib or 0.0 for card in group)


def _kinds(cards: list[HostCard], ranks: int) -> Iterator[list[HostCard]]:
    """Yield the cards by compute capability, which one engine cannot mix; cards without a display first."""
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
    """Yield the index of a model and the settings to reduce for it, in the order in which they are tried.

    Settings before `model` in give_up are reduced for each model before the next model is tried. Settings after it are
    reduced last: all models are tried again, with all settings before `model` reduced as well.
    """
    order = () if wanted.exact else wanted.give_up
    at = order.index(MODEL) if MODEL in order else len(order)
    before = [setting for setting in order[:at] if _can_give_up(wanted, setting)]
    behind = [setting for setting in order[at + 1 :] if _can_give_up(wanted, setting)]
    models = range(len(wanted.models)) if MODEL in order else range(1)
    for last in range(len(behind) + 1):
        for index in models:
            # From the second round on, combinations with only a part of `before` were tried already.
            for first in range(len(before) if last else 0, len(before) + 1):
                yield index, frozenset([*before[:first], *behind[:last]])


def _can_give_up(wanted: Requirements, setting: str) -> bool:
    if setting == KV_CACHE_DTYPE:
        return KV_DTYPE_BYTES[wanted.kv_cache_dtype] > 1
    return wanted.max_model_len_min is not None


def as_wanted(wanted: Requirements, model: Model, group: Group) -> Question:
    """Return the question for a model with the roster's settings, on these cards; the weakest card counts."""
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
        desktop_gib=max((card.desktop_gib for card in group if card.desktop_gib is not None), default=None),
        system_gib=max((card.system_gib for card in group if card.system_gib is not None), default=None),
        draft=wanted.draft if isinstance(wanted.draft, Model) else None,
        speculates=wanted.speculates,
        # In unified memory, weights in the host's memory still take the card's.
        cpu_offload_gib=wanted.cpu_offload_gib if all(card.system_gib is None for card in group) else 0.0,
        images=wanted.images,
        tries_kernels=False,  # vllm/options.py disables the trials
        kernels=all(card.kernels for card in group),
    )


def settle(
    wanted: Requirements, question: Question, group: Group, *, given_up: frozenset[str], measured: Measurements
) -> Question:
    """Return the question with its reductions, the measured values, and the largest possible share of the cards."""
    oldest = vllm_kernels.kv_fp8_since(kernels=question.kernels)
    if KV_CACHE_DTYPE in given_up and (question.capability is None or question.capability >= oldest):
        question = question._replace(kv_cache_dtype="fp8")
    question = with_measured(question, group, measured)
    if not wanted.exact:
        question = _with_room_outside(question)
    return _shortened(question, wanted.max_model_len_min or 1) if MAX_MODEL_LEN in given_up else question


def with_measured(question: Question, group: Group, measured: Measurements) -> Question:
    """Return the question with the measurements of an engine in the same configuration, if there are any."""
    if not measured or question.cpu_offload_gib or not question.images:  # measured.py stores none of these
        return question
    draft = question.draft.name if question.draft else None
    ran = configuration(question._asdict(), question.model, (card.number for card in group), draft)
    return question._replace(measured=measured.get(ran))


def _with_room_outside(question: Question) -> Question:
    """Lower gpu_memory_utilization, an upper bound, to leave room for the engine's memory outside its share."""
    terms = list(fit(question).terms)
    outside = sum(term.gib for term in terms if not term.inside) + overhead.uncertainty(terms, inside=False)
    highest = math.floor(100 * (1 - outside / question.card_gib)) / 100 if outside < question.card_gib else 0
    return question._replace(gpu_memory_utilization=min(question.gpu_memory_utilization, max(highest, 0.01)))


def _shortened(question: Question, least: int) -> Question:
    """Return the question with the longest max_model_len that fits, between `least` and its current value."""
    limit = question.model.architecture.max_position_embeddings or question.max_model_len
    question = question._replace(max_model_len=min(question.max_model_len, limit))
    found = fit(question)
    if found.verdict == FITS or found.kv_gib_per_rank is None:
        return question
    sure_gib = max(0.0, found.kv_gib_per_rank - (found.uncertainty_gib or 0.0))
    longest = pool(question).longest(sure_gib * GIB, question.max_model_len) // BLOCK_TOKENS * BLOCK_TOKENS
    step = _ROUND_TOKENS if longest >= _ROUND_TOKENS else BLOCK_TOKENS
    return question._replace(max_model_len=min(max(longest // step * step, least), question.max_model_len))


def lookup(entries: list[Measurement], configs: models.Configs) -> Measurements:
    """Return the measured weights and overhead of measured.load's entries, by configuration."""
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
    """Return a measurement's model as an entry of a roster's `models`."""
    made: WantedModel = {"model": each["model"]}
    if each["quantization"]:
        made["quantization"] = each["quantization"]
    if each.get("quantize"):
        made["quantize"] = str(each["quantize"])
    return made
