"""Compute the memory of an engine on each card, and whether its max_model_len fits.

The module is pure arithmetic over named tuples. A question takes a few microseconds, because a chooser asks thousands.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ..util.units import GIB
from ..vllm import defaults, kernels
from . import overhead as fit_overhead
from . import sizes, split
from .sizes import weights
from .term import Term
from .verdict import FITS, NO, TIGHT, UNKNOWN, Measured, Question, heavier, verdict

__all__ = ["FITS", "NO", "TIGHT", "UNKNOWN", "Fit", "Measured", "Question", "fit", "longest", "too_heavy"]
GB = 1000**3


class Fit(NamedTuple):
    """Hold the answer, per rank. `gap_gib` is the memory missing for max_model_len, negative for spare memory.

    `uncertainty_gib` is the half-width of `overhead_gib`. `fits` holds at the upper end of the overhead, `no` at its
    lower end, and `tight` lies between. Without a computation, because of the card or the split, all values but the
    verdict and the reasons are None.
    """

    verdict: str
    reasons: tuple[str, ...]
    weights_gib_per_rank: float | None = None
    kv_bytes_per_token_per_rank: int | None = None
    overhead_gib: float | None = None
    uncertainty_gib: float | None = None
    terms: tuple[Term, ...] = ()
    kv_gib_per_rank: float | None = None
    kv_tokens: int | None = None
    max_model_len_possible: int | None = None
    gap_gib: float | None = None
    decode_ceiling_tokens_per_second: float | None = None


@lru_cache(maxsize=8192)
def fit(question: Question) -> Fit:
    """Return the memory plan of one engine: budget - weights - overhead = KV cache."""
    model, ranks = question.model, question.tensor_parallel_size
    against = split.obstacle(model, ranks) or split.draft_obstacle(question.draft, model, ranks)
    if against:
        return Fit(verdict=NO, reasons=(against,))
    held = weights(model.architecture, model.form, ranks)
    drafting = weights(question.draft.architecture, question.draft.form, ranks) if question.draft else None
    measured = question.measured
    resident = measured.weights_gib if measured else (held.resident + (drafting.resident if drafting else 0)) / GIB
    terms = _terms(question)
    overhead = sum(term.gib for term in terms if term.inside)
    token_bytes = _token_bytes(question)
    room_gib = question.share_gib - resident - overhead
    gap = sizes.needed_bytes(question.max_model_len, token_bytes) / GIB - room_gib
    kv_tokens = sizes.tokens(max(0.0, room_gib) * GIB, token_bytes)
    own_limit = model.architecture.max_position_embeddings
    unsure = fit_overhead.uncertainty(terms, inside=True)
    answer, reasons = verdict(question, resident, terms, gap, unsure)
    # With drafts one pass over the weights yields several tokens, so this ceiling does not apply.
    bandwidth = None if question.draft or question.speculates else question.bandwidth_gb_s
    return Fit(
        verdict=answer,
        reasons=reasons,
        weights_gib_per_rank=resident,
        kv_bytes_per_token_per_rank=token_bytes,
        overhead_gib=overhead,
        uncertainty_gib=unsure,
        terms=tuple(terms),
        kv_gib_per_rank=max(0.0, room_gib),
        kv_tokens=kv_tokens,
        max_model_len_possible=min(kv_tokens, own_limit) if own_limit else kv_tokens,
        gap_gib=gap,
        decode_ceiling_tokens_per_second=bandwidth * GB / held.read_per_token if bandwidth else None,
    )


def longest(question: Question, *, tight: bool = False) -> int:
    """Return the longest max_model_len with the verdict `fits`, or also `tight`; 0 without one. At most the question's.

    A longer length never needs less memory, so this is a binary search over whole blocks, and over the length itself.
    """
    accepted = (FITS, TIGHT) if tight else (FITS,)

    def holds(tokens: int) -> bool:
        found = fit(question._replace(max_model_len=tokens))
        return found.verdict in accepted and tokens <= (found.max_model_len_possible or 0)

    if holds(question.max_model_len):
        return question.max_model_len
    held, refused = 0, question.max_model_len // sizes.BLOCK_TOKENS + 1
    while refused - held > 1:
        middle = (held + refused) // 2
        held, refused = (middle, refused) if holds(middle * sizes.BLOCK_TOKENS) else (held, middle)
    return held * sizes.BLOCK_TOKENS


def too_heavy(question: Question) -> str | None:
    """Return a sentence when the weights alone exceed the share, None otherwise. Does not compute the overhead."""
    model, ranks = question.model, question.tensor_parallel_size
    against = split.obstacle(model, ranks)
    resident = 0 if against else weights(model.architecture, model.form, ranks).resident
    return against or heavier(resident / GIB, question)


def _token_bytes(question: Question) -> int:
    """Return the bytes of one token's keys and values, with the draft model's (vLLM 0.32, kv_cache_utils.py)."""
    models = [question.model, *([question.draft] if question.draft else [])]
    ranks, dtype = question.tensor_parallel_size, question.kv_dtype
    return sum(sizes.bytes_per_token(model.architecture, dtype, ranks) for model in models)


def _terms(question: Question) -> list[Term]:
    setup = fit_overhead.Setup(
        batch=defaults.batch(
            question.max_model_len,
            card_gib=question.card_gib,
            a100=question.a100,
            max_num_seqs=question.max_num_seqs,
            max_num_batched_tokens=question.max_num_batched_tokens,
        ),
        ranks=question.tensor_parallel_size,
        eager=question.enforce_eager,
        flashinfer=kernels.uses_flashinfer(question.kv_dtype, question.capability, kernels=question.kernels),
        shared_display=question.shared_display,
        desktop_gib=question.desktop_gib,
        system_gib=question.system_gib,
        tries_kernels=question.tries_kernels,
    )
    found = fit_overhead.terms(question.model.architecture, setup)
    if question.draft:
        found.append(fit_overhead.DRAFT)
    if question.measured:
        found = [fit_overhead.measured(question.measured.overhead_gib), *(term for term in found if not term.inside)]
    return found
