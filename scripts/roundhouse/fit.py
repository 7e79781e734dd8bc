"""The fit: what an engine puts on each card, and whether that leaves room for its max_model_len.

Pure arithmetic over named tuples, a few microseconds for a question: a chooser may ask thousands.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from . import engine_defaults, fit_kv, fit_overhead
from .catalog import Architecture, Model
from .fit_terms import Term
from .fit_weights import GIB, Weights, weights
from .formats import Capability, Format, obstacle

GB = 1000**3
FITS, TIGHT, NO, UNKNOWN = "fits", "tight", "no", "unknown"


class Question(NamedTuple):
    """One engine on one kind of card. GiB are CUDA's total, which is below the marketing GB.

    `max_num_seqs` and `max_num_batched_tokens` of None are vLLM's defaults. `capability` and
    `bandwidth_gb_s` of None are not known, which leaves out what depends on them.
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
    against = split_obstacle(model.architecture, model.form, ranks)
    if against:
        return Fit(NO, (against,))
    held = weights(model.architecture, model.form, ranks, question.engine)
    terms = _terms(question, held)
    overhead = sum(term.gib for term in terms if term.inside)
    token_bytes = fit_kv.bytes_per_token(model.architecture, question.kv_cache_dtype, ranks)
    # vLLM: requested = ceil(total_memory * gpu_memory_utilization), v1/worker/utils.py
    room_gib = question.card_gib * question.gpu_memory_utilization - held.resident / GIB - overhead
    gap = fit_kv.needed_bytes(question.max_model_len, token_bytes) / GIB - room_gib
    kv_tokens = fit_kv.tokens(max(0.0, room_gib) * GIB, token_bytes)
    own_limit = model.architecture.max_position_embeddings
    unsure = fit_overhead.uncertainty(terms, inside=True)
    verdict, reasons = _verdict(question, held, terms, gap, unsure)
    ceiling = question.bandwidth_gb_s * GB / held.read_per_token if question.bandwidth_gb_s else None
    return Fit(
        verdict,
        reasons,
        held.resident / GIB,
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


def split_obstacle(architecture: Architecture, form: Format, ranks: int) -> str | None:
    """Return one sentence when tensor parallelism over `ranks` cannot be had, None when it can."""
    heads, keys = architecture.num_attention_heads, architecture.num_key_value_heads
    at = f"tensor_parallel_size is {ranks}"
    if heads % ranks:
        return f"{at} and does not divide num_attention_heads, {heads}: take one that does."
    if keys % ranks and ranks % keys:
        return f"{at}, which neither divides nor is a multiple of num_key_value_heads, {keys}: take one that does."
    sizes = (architecture.intermediate_size, architecture.moe_intermediate_size)
    for size in sizes if architecture.moe_layers < architecture.num_hidden_layers else sizes[1:]:
        if size % ranks:
            return f"{at} and does not divide the intermediate size, {size}: take one that does."
        if form.group_size and size // ranks % form.group_size:
            return (
                f"{at} and leaves each rank {size // ranks} of the intermediate size, which is no whole number "
                f"of {form.name}'s groups of {form.group_size}: take fewer ranks."
            )
    return None


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
    )
    return fit_overhead.terms(question.model.architecture, question.model.form, held.largest_linear, setup)


def _verdict(
    question: Question, held: Weights, terms: list[Term], gap: float, unsure: float
) -> tuple[str, tuple[str, ...]]:
    reasons = []
    verdict = FITS if gap <= -unsure else TIGHT if gap <= unsure else NO
    budget = question.card_gib * question.gpu_memory_utilization
    if held.resident / GIB > budget:
        verdict = NO
        reasons.append(f"The weights take {held.resident / GIB:.2f} GiB and the engine's share is {budget:.2f} GiB.")
    elif verdict != FITS:
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
