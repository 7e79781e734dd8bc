"""Choose the best model of an agent that fits a host's cards, and report the reductions.

An agent lists its models best first, and in `give_up` the settings to reduce, the least important first. These are the
16-bit KV cache, max_model_len down to max_model_len_min, and the model itself. The choice is the first combination with
the verdict `fits`. More cards are tried before a setting is reduced. The module only computes: it queries no host and
no hub.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..catalog.architecture import Model, Unknown
from ..fit.estimate import FITS, NO, TIGHT, UNKNOWN, Fit, Question, fit, too_heavy
from ..schema.plan import GaveUp
from .candidates import (
    KV_CACHE_DTYPE,
    MAX_MODEL_LEN,
    MODEL,
    Group,
    Measurements,
    Requirements,
    as_wanted,
    attempts,
    card_sets,
    room_gib,
    settle,
)

_WORSE = (FITS, TIGHT, NO)


class Choice(NamedTuple):
    """The chosen combination, or the last one tried if `taken` is false. `model` is an index into the wanted models.

    `question` and `fit` are None if nothing was computed. `refused` has a sentence by index for each model that does
    not fit.
    """

    taken: bool
    model: int
    verdict: str
    gpus: tuple[int, ...]
    refused: dict[int, str]
    question: Question | None = None
    fit: Fit | None = None
    given_up: tuple[GaveUp, ...] = ()


class Attempt(NamedTuple):
    """A question for a set of cards; `fit` is None if the weights alone exceed the engine's share."""

    group: Group
    question: Question
    fit: Fit | None


def choose(wanted: Requirements, cards: Group, load: Mapping[int, int], measured: Measurements | None = None) -> Choice:
    """Return the best combination that fits. `load` is the number of agents so far by card number."""
    lists = list(card_sets(cards, wanted.gpus, load))
    unknown: dict[int, str] = {}
    last: dict[int, Attempt] = {}  # the last attempt of each model
    too_large: set[int] = set()  # models whose weights exceed every set of cards, with all reductions
    for index, given_up in attempts(wanted):
        model = wanted.models[index]
        if isinstance(model, Unknown):
            if wanted.exact:
                return _uncomputed(wanted, index, cards, {index: model.reason}, taken=True)
            unknown[index] = f"{model.name}: unknown. {model.reason}"
        elif index not in too_large:
            holds = False
            for options in lists:
                attempt = last[index] = _best(wanted, model, options, given_up, measured or {})
                if _is_accepted(wanted, attempt.fit):
                    return _choice(wanted, index, last, unknown, taken=True)
                holds = holds or attempt.fit is not None
            if not holds:
                too_large.add(index)
    if not last:
        return _uncomputed(wanted, 0, cards, unknown, taken=False)
    return _choice(wanted, max(last), last, unknown, taken=False)


def _uncomputed(wanted: Requirements, index: int, cards: Group, refused: dict[int, str], *, taken: bool) -> Choice:
    gpus = wanted.gpus or first_usable(cards)
    return Choice(taken=taken, model=index, verdict=UNKNOWN, gpus=gpus, refused=refused)


def first_usable(cards: Group) -> tuple[int]:
    """Return the number of the first card that an agent can use, 0 if none is known."""
    return (next((card.number for card in cards if card.unusable is None), 0),)


def _choice(
    wanted: Requirements, index: int, last: dict[int, Attempt], unknown: dict[int, str], *, taken: bool
) -> Choice:
    group, question, found = last[index]
    found = found or fit(question)
    failed = {each: attempt for each, attempt in last.items() if not (taken and each == index)}
    refused = unknown | {each: _refusal(wanted, attempt) for each, attempt in failed.items()}
    return Choice(
        taken=taken,
        model=index,
        verdict=found.verdict,
        gpus=tuple(card.number for card in group),
        refused=refused,
        question=question,
        fit=found,
        given_up=_given_up(wanted, index, question, refused) if taken else (),
    )


def _best(
    wanted: Requirements, model: Model, options: list[Group], given_up: frozenset[str], measured: Measurements
) -> Attempt:
    """Return the attempt on the first set of cards that is accepted, else on the largest, which is not accepted."""
    roomiest = _try(wanted, model, max(options, key=room_gib), given_up, measured)
    if not _is_accepted(wanted, roomiest.fit):
        return roomiest
    every = (_try(wanted, model, group, given_up, measured) for group in options)
    return next(attempt for attempt in every if _is_accepted(wanted, attempt.fit))


def _try(wanted: Requirements, model: Model, group: Group, given_up: frozenset[str], measured: Measurements) -> Attempt:
    question = as_wanted(wanted, model, group)
    if too_heavy(question):
        return Attempt(group, question, None)
    question = settle(wanted, question, group, given_up=given_up, measured=measured)
    # Cards that the roster combines may differ. If one of them cannot run the model, none can.
    others = {card.capability for card in group if card.capability} - {question.capability}
    answers = [fit(question), *(fit(question._replace(capability=each)) for each in others)]
    return Attempt(group, question, max(answers, key=lambda found: _WORSE.index(found.verdict)))


def _is_accepted(wanted: Requirements, found: Fit | None) -> bool:
    if found is None:
        return False
    # With policy exact the verdict may be tight, if it fits with the expected values.
    return found.verdict == FITS or (wanted.exact and found.verdict == TIGHT and (found.gap_gib or 0.0) <= 0)


def _given_up(wanted: Requirements, index: int, question: Question, refused: dict[int, str]) -> tuple[GaveUp, ...]:
    made: list[GaveUp] = []
    if index:
        first, taken = _name(wanted, wanted.models[0]), _name(wanted, question.model)
        made.append(_gave_up(MODEL, first, taken, [refused[each] for each in range(index)]))
    whole = question._replace(max_model_len=wanted.max_model_len)
    if question.kv_cache_dtype != wanted.kv_cache_dtype:
        reasons = fit(whole._replace(kv_cache_dtype=wanted.kv_cache_dtype)).reasons
        made.append(_gave_up(KV_CACHE_DTYPE, wanted.kv_cache_dtype, question.kv_cache_dtype, reasons))
    if question.max_model_len != wanted.max_model_len:
        made.append(_gave_up(MAX_MODEL_LEN, wanted.max_model_len, question.max_model_len, fit(whole).reasons))
    return tuple(made)


def _gave_up(setting: str, wanted: str | int, got: str | int, reasons: Iterable[str]) -> GaveUp:
    return {"setting": setting, "wanted": wanted, "got": got, "why": " ".join(reasons)}


def _name(wanted: Requirements, model: Model | Unknown) -> str:
    """Return a model's name, with its format if the roster has it in several formats."""
    alike = [each for each in wanted.models if each.name == model.name]
    return f"{model.name} ({model.form.name})" if len(alike) > 1 and isinstance(model, Model) else model.name


def _refusal(wanted: Requirements, attempt: Attempt) -> str:
    question, found = attempt.question, attempt.fit
    given_up = []
    # If the weights alone are too large, reductions of the KV cache do not matter.
    if found and question.kv_cache_dtype != wanted.kv_cache_dtype:
        given_up.append(f"kv_cache_dtype {question.kv_cache_dtype}")
    if found and question.max_model_len != wanted.max_model_len:
        given_up.append(f"max_model_len {question.max_model_len}")
    if question.tensor_parallel_size > 1:
        given_up.append(f"{question.tensor_parallel_size} cards")
    at = f" with {' and '.join(given_up)}" if given_up else ""
    verdict, reasons = (found.verdict, found.reasons) if found else (NO, (too_heavy(question) or "",))
    return f"{question.model.name} ({question.model.form.name}): {verdict}{at}. {' '.join(reasons)}"
