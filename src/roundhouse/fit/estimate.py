"""Compute what an engine puts on each card, and whether that leaves room for its max_model_len.

Pure arithmetic over named tuples, a few microseconds for a question: a chooser may ask thousands.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ..util.units import GIB
from ..vllm import defaults, kernels
from . import overhead as fit_overhead
from . import sizes, split
from .overhead import Term
from .sizes import weights
from .verdict import FITS, NO, TIGHT, UNKNOWN, Measured, Question, heavier, verdict

__all__ = ["FITS", "NO", "TIGHT", "UNKNOWN", "Fit", "Measured", "Question", "fit", "too_heavy"]
GB = 1000**3


class Fit(NamedTuple):
    """The answer, per rank. `gap_gib` is what is missing for max_model_len, negative when that is to spare.

    `uncertainty_gib` is the half-width of `overhead_gib`. A verdict of `fits` holds at its far end, `no`
    at its near end, and `tight` lies between. All but the verdict and the reasons are None when a card
    or a split rules the question out.
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
    # With drafts one pass over the weights makes several tokens, so there is no such ceiling.
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


def too_heavy(question: Question) -> str | None:
    """Return a sentence when no KV cache is small enough, None otherwise: quick to know, without the overhead."""
    model, ranks = question.model, question.tensor_parallel_size
    against = split.obstacle(model, ranks)
    resident = 0 if against else weights(model.architecture, model.form, ranks).resident
    return against or heavier(resident / GIB, question)


def _token_bytes(question: Question) -> int:
    """Return the bytes of one token's keys and values; a draft model keeps its own (vLLM 0.32, kv_cache_utils.py)."""
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
        tries_kernels=question.tries_kernels,
    )
    found = fit_overhead.terms(question.model.architecture, setup)
    if question.draft:
        found.append(fit_overhead.DRAFT)
    if question.measured:
        found = [fit_overhead.measured(question.measured.overhead_gib), *(term for term in found if not term.inside)]
    return found
