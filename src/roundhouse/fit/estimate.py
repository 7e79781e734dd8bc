"""Compute the memory of an engine on each card, and whether its max_model_len fits.

The module is pure arithmetic over named tuples. A question takes a few microseconds, because a chooser asks thousands.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

from ..catalog.architecture import Architecture
from ..util.units import GIB
from ..vllm import formats, kernels
from . import kv_cache, sizes, split
from . import overhead as fit_overhead
from .linears import linears
from .term import Term
from .verdict import FITS, NO, TIGHT, UNKNOWN, Measured, Question, heavier, verdict

__all__ = ["FITS", "NO", "TIGHT", "UNKNOWN", "Fit", "Measured", "Question", "fit", "longest", "too_heavy"]
GB = 1000**3
# vLLM 0.32 schedules a batch while another one runs (config/vllm.py: max_in_flight_tokens).
_TWO_BATCHES_SINCE = (0, 32)
_LONGEST_TOKENS = 1 << 40  # of a model without a known maximum


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
    state_bytes_per_sequence_per_rank: int | None = None


@lru_cache(maxsize=8192)
def fit(question: Question) -> Fit:
    """Return the memory plan of one engine: budget - weights - overhead = KV cache."""
    model, ranks = question.model, question.tensor_parallel_size
    against = split.obstacle(model, ranks) or split.draft_obstacle(question.draft, model, ranks)
    if against:
        return Fit(verdict=NO, reasons=(against,))
    held = resident_weights(question)
    measured = question.measured
    resident = measured.weights_gib if measured else max(0.0, held.resident / GIB - question.cpu_offload_gib)
    terms = _terms(question)
    overhead = sum(term.gib for term in terms if term.inside)
    blocks = pool(question)
    room_gib = question.share_gib - resident - overhead
    gap = blocks.needed(question.max_model_len) / GIB - room_gib
    room_bytes = max(0.0, room_gib) * GIB
    own_limit = model.architecture.max_position_embeddings
    unsure = fit_overhead.uncertainty(terms, inside=True)
    if model.band:
        unsure = math.hypot(unsure, model.band * resident)
    answer, reasons = verdict(question, resident, terms, gap, unsure)
    # With drafts one pass over the weights yields several tokens, so this ceiling does not apply.
    bandwidth = None if question.draft or question.speculates or question.mtp else question.bandwidth_gb_s
    return Fit(
        verdict=answer,
        reasons=reasons,
        weights_gib_per_rank=resident,
        kv_bytes_per_token_per_rank=_token_bytes(question),
        overhead_gib=overhead,
        uncertainty_gib=unsure,
        terms=tuple(terms),
        kv_gib_per_rank=max(0.0, room_gib),
        kv_tokens=blocks.tokens(room_bytes, question.max_model_len),
        max_model_len_possible=_possible(blocks, room_bytes, own_limit),
        gap_gib=gap,
        decode_ceiling_tokens_per_second=bandwidth * GB / held.read_per_token if bandwidth else None,
        state_bytes_per_sequence_per_rank=_state_bytes(question),
    )


def resident_weights(question: Question) -> sizes.Weights:
    """Return the bytes of the weights of a rank with its draft model, draft layers and adapters."""
    model, ranks, stages = question.model, question.tensor_parallel_size, question.pipeline_parallel_size
    shape = model.architecture if stages == 1 else sizes.stage(model.architecture, stages)
    if not question.images:
        shape = shape._replace(vision=None)
    form = formats.loaded(model.form, question.capability)
    found = sizes.weights(shape, form, ranks, model.parts, question.engine)
    more = 0
    if model.held:
        more = found.rounding
        cards, drafts, images = ranks * stages, question.mtp, question.images
        found = sizes.from_headers(model.held, model.architecture, cards, drafts=drafts, images=images)
    if question.draft:
        draft = question.draft
        more += sizes.weights(draft.architecture, draft.form, ranks, draft.parts, question.engine).resident
    if question.mtp and not model.held:
        more += sizes.draft_bytes(shape, dict(model.parts).get("draft", formats.WEIGHT_FORMATS["bf16"]), ranks)
    if question.adapters:
        more += sizes.adapter_bytes(shape, ranks, adapters=question.adapters, rank=question.adapter_rank)
    return found._replace(resident=found.resident + more)


def pool(question: Question) -> kv_cache.Pool:
    """Return the KV cache's blocks of a question, with the draft's keys."""
    shape = _shape(question)
    if question.mtp and shape.draft_layers and not shape.window:
        # The draft layers have full attention and join its group.
        shape = shape._replace(
            num_hidden_layers=shape.num_hidden_layers + shape.draft_layers,
            attention_layers=shape.mixing_layers + shape.draft_layers,
        )
    settings = kv_cache.Settings(
        dtype=question.kv_dtype,
        ranks=question.tensor_parallel_size,
        in_flight_tokens=_in_flight(question) if shape.window else 0,
        drafts=question.drafts if question.mtp or question.draft else 0,
        shared_prefixes=question.shared_prefixes,
        block_tokens=question.block_tokens,
    )
    found = kv_cache.pool(shape, settings)
    if question.draft is None:
        return found
    return kv_cache.with_draft(found, kv_cache.pool(question.draft.architecture, settings))


def _shape(question: Question) -> Architecture:
    stages = question.pipeline_parallel_size
    return question.model.architecture if stages == 1 else sizes.stage(question.model.architecture, stages)


def _in_flight(question: Question) -> int:
    return question.batch.max_num_batched_tokens * (2 if question.engine >= _TWO_BATCHES_SINCE else 1)


def _possible(blocks: kv_cache.Pool, room_bytes: float, own_limit: int | None) -> int:
    return blocks.longest(room_bytes, own_limit or _LONGEST_TOKENS)


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
    held, refused = 0, question.max_model_len // kv_cache.BLOCK_TOKENS + 1
    while refused - held > 1:
        middle = (held + refused) // 2
        held, refused = (middle, refused) if holds(middle * kv_cache.BLOCK_TOKENS) else (held, middle)
    return held * kv_cache.BLOCK_TOKENS


def too_heavy(question: Question) -> str | None:
    """Return a sentence when the weights alone exceed the share, None otherwise. Does not compute the overhead."""
    model, ranks = question.model, question.tensor_parallel_size
    against = split.obstacle(model, ranks)
    resident = 0.0 if against else resident_weights(question).resident / GIB - question.cpu_offload_gib
    return against or heavier(resident, question)


def _token_bytes(question: Question) -> int:
    """Return the bytes of one token's keys and values, with the draft model's (vLLM 0.32, kv_cache_utils.py)."""
    ranks, dtype = question.tensor_parallel_size, question.kv_dtype
    own = kv_cache.bytes_per_token(_shape(question), dtype, ranks)
    return own + (kv_cache.bytes_per_token(question.draft.architecture, dtype, ranks) if question.draft else 0)


def _state_bytes(question: Question) -> int:
    """Return the bytes of one sequence's states on one rank, without padding; 0 for a model without states."""
    states = _shape(question).recurrent
    drafts = question.drafts if question.mtp else 0
    return states.layers * kv_cache.state_bytes(states, question.tensor_parallel_size, drafts) if states else 0


def _terms(question: Question) -> list[Term]:
    model = question.model
    unpacked = 0
    if model.form.name == "bnb4":
        unpacked = max(
            each.inputs * each.outputs for each in linears(model.architecture, question.tensor_parallel_size)
        )
    setup = fit_overhead.Setup(
        batch=question.batch,
        ranks=question.tensor_parallel_size,
        eager=question.enforce_eager,
        flashinfer=kernels.uses_flashinfer(question.kv_dtype, question.capability, kernels=question.kernels),
        shared_display=question.shared_display,
        desktop_gib=question.desktop_gib,
        system_gib=question.system_gib,
        tries_kernels=question.tries_kernels,
        engine=question.engine,
        samples_by_flashinfer=question.samples_by_flashinfer,
        adapters=question.adapters,
        drafts=question.drafts if question.mtp else 0,
        unpacked=unpacked,
        images=question.images,
    )
    found = fit_overhead.terms(_shape(question), setup)
    if question.draft:
        found.append(fit_overhead.DRAFT)
    if question.measured:
        found = [fit_overhead.measured(question.measured.overhead_gib), *(term for term in found if not term.inside)]
    return found
