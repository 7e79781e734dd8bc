"""The choice: the best model of an agent that fits a host's cards, and what was given up for it.

An agent's models stand best first, and `give_up` says what it would miss least: a 16-bit KV cache, some of its
max_model_len down to max_model_len_min, the model itself. The first combination whose verdict is `fits` is taken; more
cards are tried before anything is given up. What is pure arithmetic stays that: nothing here asks a host or a hub.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .candidates import KV_CACHE_DTYPE, MAX_MODEL_LEN, MODEL, Group, Measurements, Wish, attempts, base, groups, settled
from .catalog import Unknown
from .fit import FITS, TIGHT, UNKNOWN, Fit, Question, fit


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
    accepted = (FITS, TIGHT) if wish.exact else (FITS,)
    refused: dict[int, str] = {}
    tried = Choice(False, 0, UNKNOWN, wish.gpus or (0,), None, None, (), refused)
    for index, given in attempts(wish):
        model = wish.models[index]
        if isinstance(model, Unknown):
            if wish.exact:
                return Choice(True, index, UNKNOWN, wish.gpus or (0,), None, None, (), {index: model.reason})
            refused[index] = f"{model.name}: unknown. {model.reason}"
            continue
        for group in groups(cards, wish.gpus, load):
            question = settled(wish, base(wish, model, group), given, measured or {})
            found = fit(question)
            gpus = tuple(card.number for card in group)
            if found.verdict in accepted:
                given_up = _given_up(wish, index, question, refused)
                return Choice(True, index, found.verdict, gpus, question, found, given_up, refused)
            refused[index] = _refusal(wish, question, found)
            tried = Choice(False, index, found.verdict, gpus, question, found, (), refused)
    return tried


def _given_up(wish: Wish, index: int, question: Question, refused: dict[int, str]) -> tuple[GivenUp, ...]:
    made = []
    if index:
        why = " ".join(refused[each] for each in range(index))
        made.append(GivenUp(MODEL, wish.models[0].name, question.model.name, why))
    whole = question._replace(max_model_len=wish.max_model_len)
    if question.kv_cache_dtype != wish.kv_cache_dtype:
        why = " ".join(fit(whole._replace(kv_cache_dtype=wish.kv_cache_dtype)).reasons)
        made.append(GivenUp(KV_CACHE_DTYPE, wish.kv_cache_dtype, question.kv_cache_dtype, why))
    if question.max_model_len != wish.max_model_len:
        why = " ".join(fit(whole).reasons)
        made.append(GivenUp(MAX_MODEL_LEN, wish.max_model_len, question.max_model_len, why))
    return tuple(made)


def _refusal(wish: Wish, question: Question, found: Fit) -> str:
    share = question.card_gib * question.gpu_memory_utilization
    given = []
    # Where the weights alone are too much, nothing of the KV cache would help.
    if (found.weights_gib_per_rank or 0.0) <= share:
        if question.kv_cache_dtype != wish.kv_cache_dtype:
            given.append(f"kv_cache_dtype {question.kv_cache_dtype}")
        if question.max_model_len != wish.max_model_len:
            given.append(f"max_model_len {question.max_model_len}")
    if question.tensor_parallel_size > 1:
        given.append(f"{question.tensor_parallel_size} cards")
    at = f" with {' and '.join(given)}" if given else ""
    return f"{question.model.name} ({question.model.form.name}): {found.verdict}{at}. {' '.join(found.reasons)}"
