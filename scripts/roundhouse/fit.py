"""The fit: what an engine puts on each card, and whether that leaves room for its max_model_len.

Pure arithmetic over named tuples, a few microseconds for a question: a chooser may ask thousands.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from . import engine_defaults, fit_kv, fit_overhead, fit_split, fit_terms
from .catalog import Model
from .fit_terms import Term
from .fit_weights import GIB, Weights, weights
from .formats import Capability, obstacle

GB = 1000**3
FITS, TIGHT, NO, UNKNOWN = "fits", "tight", "no", "unknown"


class Measured(NamedTuple):
    """What an engine stated when it ran so on this host, GiB on each rank. `overhead_gib` is inside its share."""

    weights_gib: float
    overhead_gib: float


class Question(NamedTuple):
    """One engine on one kind of card. GiB are CUDA's total, which is below the marketing GB.

    `max_num_seqs` and `max_num_batched_tokens` of None are vLLM's defaults. `capability` and
    `bandwidth_gb_s` of None are not known, which leaves out what depends on them. `draft` is the
    model that drafts for speculative decoding; `measured` takes the place of computed terms. `tries_kernels`:
    the engine compiles at this start and tries its kernels; None where that is not known.
    """

    model: Model
    card_gib: float
    max_model_len: int
    gpu_memory_utilization: float = engine_defaults.UTILIZATION
    kv_cache_dtype: str = "auto"
    tensor_parallel_size: int = 1
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    enforce_eager: bool = False
    engine: engine_defaults.Version = engine_defaults.PINNED
    capability: Capability | None = None
    bandwidth_gb_s: float | None = None
    a100: bool = False
    shared_display: bool = False
    draft: Model | None = None
    measured: Measured | None = None
    tries_kernels: bool | None = None


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
    against = fit_split.obstacle(model, ranks) or fit_split.draft_obstacle(question.draft, model, ranks)
    if against:
        return Fit(NO, (against,))
    engine = question.engine
    held = weights(model.architecture, model.form, ranks, engine)
    drafting = weights(question.draft.architecture, question.draft.form, ranks, engine) if question.draft else None
    measured = question.measured
    resident = measured.weights_gib if measured else (held.resident + (drafting.resident if drafting else 0)) / GIB
    terms = _terms(question, held)
    overhead = sum(term.gib for term in terms if term.inside)
    token_bytes = _token_bytes(question)
    # vLLM: requested = ceil(total_memory * gpu_memory_utilization), v1/worker/utils.py
    room_gib = question.card_gib * question.gpu_memory_utilization - resident - overhead
    gap = fit_kv.needed_bytes(question.max_model_len, token_bytes) / GIB - room_gib
    kv_tokens = fit_kv.tokens(max(0.0, room_gib) * GIB, token_bytes)
    own_limit = model.architecture.max_position_embeddings
    unsure = fit_overhead.uncertainty(terms, inside=True)
    verdict, reasons = _verdict(question, resident, terms, gap, unsure)
    ceiling = question.bandwidth_gb_s * GB / held.read_per_token if question.bandwidth_gb_s else None
    return Fit(
        verdict,
        reasons,
        resident,
        token_bytes,
        overhead,
        unsure,
        tuple(terms),
        max(0.0, room_gib),
        kv_tokens,
        min(kv_tokens, own_limit) if own_limit else kv_tokens,
        gap,
        ceiling,
    )


def _token_bytes(question: Question) -> int:
    """Return the bytes of one token's keys and values; a draft model keeps its own (vLLM 0.32, kv_cache_utils.py)."""
    models = [question.model, *([question.draft] if question.draft else [])]
    ranks, dtype = question.tensor_parallel_size, question.kv_cache_dtype
    return sum(fit_kv.bytes_per_token(model.architecture, dtype, ranks) for model in models)


def _terms(question: Question, held: Weights) -> list[Term]:
    wanted = engine_defaults.Wanted(question.max_num_seqs, question.max_num_batched_tokens)
    setup = fit_overhead.Setup(
        engine=question.engine,
        batch=engine_defaults.batch(question.engine, question.card_gib, question.a100, question.max_model_len, wanted),
        ranks=question.tensor_parallel_size,
        eager=question.enforce_eager,
        fp8_kv=fit_kv.KV_DTYPE_BYTES[question.kv_cache_dtype] == 1,
        capability=question.capability,
        shared_display=question.shared_display,
        tries_kernels=question.tries_kernels,
    )
    found = fit_overhead.terms(question.model.architecture, question.model.form, held.largest_linear, setup)
    if question.draft:
        found.append(fit_terms.DRAFT)
    if question.measured:
        found = [fit_terms.measured(question.measured.overhead_gib), *(term for term in found if not term.inside)]
    return found


def _verdict(
    question: Question, resident: float, terms: list[Term], gap: float, unsure: float
) -> tuple[str, tuple[str, ...]]:
    reasons = []
    verdict = FITS if gap <= -unsure else TIGHT if gap <= unsure else NO
    budget = question.card_gib * question.gpu_memory_utilization
    own_limit = question.model.architecture.max_position_embeddings
    if own_limit and question.max_model_len > own_limit:
        verdict = NO
        reasons.append(f"max_model_len is {question.max_model_len} and the model goes to {own_limit}.")
    if resident > budget:
        verdict = NO
        reasons.append(f"The weights take {resident:.2f} GiB and the engine's share is {budget:.2f} GiB.")
    elif gap > -unsure:
        length = question.max_model_len
        reasons.append(
            f"One request of {length} tokens needs {gap:.2f} GiB more KV cache than is left "
            f"(the overhead is known to {unsure:.2f} GiB)."
            if gap > 0
            else f"One request of {length} tokens leaves {-gap:.2f} GiB of the KV cache, "
            f"less than the overhead's uncertainty, {unsure:.2f} GiB."
        )
    outside = sum(term.gib for term in terms if not term.inside)
    over = outside - (question.card_gib - budget)
    margin = fit_overhead.uncertainty(terms, inside=False)
    if over > -margin and outside:
        verdict = NO if over > margin or verdict == NO else TIGHT
        reasons.append(
            f"gpu_memory_utilization {question.gpu_memory_utilization:g} leaves {question.card_gib - budget:.2f} GiB "
            f"of the card and about {outside:.2f} GiB are needed there: lower it."
        )
    against = obstacle(question.model.form, question.capability, question.engine)
    if against:
        # Outside the engine's core is a matter of plugins; what the card cannot run is a refusal.
        verdict = verdict if question.model.form.engine_removed else NO
        reasons.append(against)
    return verdict, tuple(reasons)
