"""A fit as JSON for programs and as text for a person."""

from __future__ import annotations

from typing import Any

from . import output
from .fit import Fit
from .fit_kv import needed_bytes
from .fit_weights import GIB
from .plan_question import Asked

KIB = 1024


# The names of `numbers`, for an answer without any.
NUMBERS = (
    *("weights_gib_per_rank", "kv_bytes_per_token_per_rank", "overhead_gib", "overhead_terms", "kv_gib_per_rank"),
    *("kv_tokens", "max_model_len_possible", "gap_gib", "decode_ceiling_tokens_per_second"),
)


def as_json(found: Fit, notes: tuple[str, ...]) -> dict[str, Any]:
    """Return the answer to a single question."""
    return {
        "schema": output.SCHEMA,
        "ok": True,
        "verdict": found.verdict,
        **numbers(found),
        "reasons": [*found.reasons, *notes],
    }


def numbers(found: Fit) -> dict[str, Any]:
    """Return the numbers of a fit, None where nothing was computed. The overhead's terms are those inside the share."""
    return {
        "weights_gib_per_rank": _rounded(found.weights_gib_per_rank, 4),
        "kv_bytes_per_token_per_rank": found.kv_bytes_per_token_per_rank,
        "overhead_gib": _rounded(found.overhead_gib, 3),
        "overhead_terms": {
            term.name: {
                "gib": round(term.gib, 3),
                "uncertainty_gib": round(term.uncertainty_gib, 3),
                "cause": term.cause,
            }
            for term in found.terms
            if term.inside
        },
        "kv_gib_per_rank": _rounded(found.kv_gib_per_rank, 3),
        "kv_tokens": found.kv_tokens,
        "max_model_len_possible": found.max_model_len_possible,
        "gap_gib": _rounded(found.gap_gib, 3),
        "decode_ceiling_tokens_per_second": _rounded(found.decode_ceiling_tokens_per_second, 1),
    }


def text(asked: Asked, found: Fit) -> str:
    """Return the answer for a person: the verdict first, then where each card's memory goes."""
    question = asked.question
    model, ranks = question.model, question.tensor_parallel_size
    where = f"{ranks} x " if ranks > 1 else ""
    where += f"{asked.card or 'a card'} of {question.card_gib:g} GiB"
    lines = [f"{model.name} ({model.form.name}) on {where}: {found.verdict} at {question.max_model_len} tokens"]
    if found.weights_gib_per_rank is not None and found.kv_bytes_per_token_per_rank is not None:
        needed = needed_bytes(question.max_model_len, found.kv_bytes_per_token_per_rank) / GIB
        share = question.card_gib * question.gpu_memory_utilization
        kib = found.kv_bytes_per_token_per_rank / KIB
        lines += [
            f"  share      {share:7.2f} GiB  gpu_memory_utilization {question.gpu_memory_utilization:g}",
            f"  weights    {found.weights_gib_per_rank:7.2f} GiB",
            f"  overhead   {found.overhead_gib:7.2f} GiB  +- {found.uncertainty_gib:.2f}",
            f"  KV cache   {found.kv_gib_per_rank:7.2f} GiB  {found.kv_tokens} tokens of {kib:g} KiB",
            f"  needed     {needed:7.2f} GiB  one request of {question.max_model_len} tokens",
            f"  longest max_model_len: {found.max_model_len_possible}",
        ]
    if found.decode_ceiling_tokens_per_second is not None:
        lines.append(f"  decode ceiling: {found.decode_ceiling_tokens_per_second:.0f} tokens/s for one sequence")
    return "\n".join([*lines, *(f"  {reason}" for reason in (*found.reasons, *asked.notes))])


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
