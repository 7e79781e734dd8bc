"""The choice: the best model of an agent that fits a host's cards, and what was given up for it.

An agent's models stand best first, and `give_up` says what it would miss least: a 16-bit KV cache, some of its
max_model_len down to max_model_len_min, the model itself. The first combination whose verdict is `fits` is taken; more
cards are tried before anything is given up. What is pure arithmetic stays that: nothing here asks a host or a hub.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..catalog.models import Model, Unknown
from ..fit.estimate import FITS, NO, TIGHT, UNKNOWN, Fit, Question, fit, too_heavy
from .candidates import (
    KV_CACHE_DTYPE,
    MAX_MODEL_LEN,
    MODEL,
    Group,
    Measurements,
    Wish,
    attempts,
    base,
    room_gib,
    sets,
    settled,
)

_WORSE = (FITS, TIGHT, NO)


class GivenUp(NamedTuple):
    """One thing that the roster asks for and the plan does not give, with the reason as a sentence."""

    setting: str
    wanted: Any
    got: Any
    why: str


class Choice(NamedTuple):
    """What is taken, or, where `taken` is false, what was tried last. `model` is an index into the wish's models.

    `question` and `fit` are None where nothing could be computed. `refused` has a sentence for each model that was
    tried in vain, by its index.
    """

    taken: bool
    model: int
    verdict: str
    gpus: tuple[int, ...]
    question: Question | None
    fit: Fit | None
    given_up: tuple[GivenUp, ...]
    refused: dict[int, str]


def choose(wish: Wish, cards: Group, load: Mapping[int, int], measured: Measurements | None = None) -> Choice:
    """Return the best combination that fits. `load` counts the agents that each card has so far, by its number."""
    lists = list(sets(cards, wish.gpus, load))
    unknown: dict[int, str] = {}
    asked: dict[int, Asked] = {}
    hopeless: set[int] = set()
    for index, given in attempts(wish):
        model = wish.models[index]
        if isinstance(model, Unknown):
            if wish.exact:
                return Choice(True, index, UNKNOWN, wish.gpus or (0,), None, None, (), {index: model.reason})
            unknown[index] = f"{model.name}: unknown. {model.reason}"
            continue
        # Weights that no set of cards holds become no lighter by what is given up.
        tries = [] if index in hopeless else lists
        hopeless.add(index)
        for options in tries:
            answer = asked[index] = _best(wish, model, options, given, measured or {})
            if answer.found and _accepted(wish, answer.found):
                return _choice(wish, index, asked, unknown, taken=True)
            if answer.found:
                hopeless.discard(index)
    if not asked:
        return Choice(False, 0, UNKNOWN, wish.gpus or (0,), None, None, (), unknown)
    return _choice(wish, max(asked), asked, unknown, taken=False)


class Asked(NamedTuple):
    """What was asked of a set of cards; `found` is None where the weights alone are more than its share."""

    group: Group
    question: Question
    found: Fit | None


def _choice(wish: Wish, index: int, asked: dict[int, Asked], unknown: dict[int, str], *, taken: bool) -> Choice:
    group, question, found = asked[index]
    found = found or fit(question)
    in_vain = {each: answer for each, answer in asked.items() if not (taken and each == index)}
    refused = unknown | {each: _refusal(wish, answer) for each, answer in in_vain.items()}
    given_up = _given_up(wish, index, question, refused) if taken else ()
    return Choice(taken, index, found.verdict, tuple(card.number for card in group), question, found, given_up, refused)


def _best(wish: Wish, model: Model, options: list[Group], given: frozenset[str], measured: Measurements) -> Asked:
    """Return the first of sets alike that is accepted, or the roomiest, which then is not accepted either."""
    answer = _ask(wish, model, max(options, key=room_gib), given, measured)
    if answer.found and _accepted(wish, answer.found):
        for group in options:
            other = _ask(wish, model, group, given, measured)
            if other.found and _accepted(wish, other.found):
                return other
    return answer


def _ask(wish: Wish, model: Model, group: Group, given: frozenset[str], measured: Measurements) -> Asked:
    plain = base(wish, model, group)
    if too_heavy(plain):
        return Asked(group, plain, None)
    question = settled(wish, plain, given, tuple(card.number for card in group), measured)
    # Cards that the roster puts together may differ: what one of them cannot run, all cannot.
    others = {card.capability for card in group if card.capability} - {question.capability}
    answers = [fit(question), *(fit(question._replace(capability=each)) for each in others)]
    return Asked(group, question, max(answers, key=lambda found: _WORSE.index(found.verdict)))


def _accepted(wish: Wish, found: Fit) -> bool:
    # Exact may be tight, as long as it fits where everything is as expected.
    return found.verdict == FITS or (wish.exact and found.verdict == TIGHT and (found.gap_gib or 0.0) <= 0)


def _given_up(wish: Wish, index: int, question: Question, refused: dict[int, str]) -> tuple[GivenUp, ...]:
    made = []
    if index:
        why = " ".join(refused[each] for each in range(index))
        made.append(GivenUp(MODEL, _called(wish, wish.models[0]), _called(wish, question.model), why))
    whole = question._replace(max_model_len=wish.max_model_len)
    if question.kv_cache_dtype != wish.kv_cache_dtype:
        why = " ".join(fit(whole._replace(kv_cache_dtype=wish.kv_cache_dtype)).reasons)
        made.append(GivenUp(KV_CACHE_DTYPE, wish.kv_cache_dtype, question.kv_cache_dtype, why))
    if question.max_model_len != wish.max_model_len:
        why = " ".join(fit(whole).reasons)
        made.append(GivenUp(MAX_MODEL_LEN, wish.max_model_len, question.max_model_len, why))
    return tuple(made)


def _called(wish: Wish, model: Model | Unknown) -> str:
    """Return a model's name, with its format where the wish has it in several."""
    alike = [each for each in wish.models if each.name == model.name]
    return f"{model.name} ({model.form.name})" if len(alike) > 1 and isinstance(model, Model) else model.name


def _refusal(wish: Wish, answer: Asked) -> str:
    question, found = answer.question, answer.found
    given = []
    # Where the weights alone are too much, nothing of the KV cache would help.
    if found and question.kv_cache_dtype != wish.kv_cache_dtype:
        given.append(f"kv_cache_dtype {question.kv_cache_dtype}")
    if found and question.max_model_len != wish.max_model_len:
        given.append(f"max_model_len {question.max_model_len}")
    if question.tensor_parallel_size > 1:
        given.append(f"{question.tensor_parallel_size} cards")
    at = f" with {' and '.join(given)}" if given else ""
    verdict, reasons = (found.verdict, found.reasons) if found else (NO, (too_heavy(question) or "",))
    return f"{question.model.name} ({question.model.form.name}): {verdict}{at}. {' '.join(reasons)}"
