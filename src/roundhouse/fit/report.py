"""Format a fit as JSON and as text, and each number with its formula and source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..catalog.architecture import Architecture
from ..schema.plan import FitNumbers
from ..util import console
from ..util.units import GIB, MIB
from . import beside
from .estimate import FITS, NO, TIGHT, Fit, Question, longest, pool
from .request import NotedQuestion

if TYPE_CHECKING:
    from roundhouse.schema.facts import ExplainRow

# The terms of others beside the engine -> their words.
_BESIDE = {beside.DISPLAY_RESIDENT.name: "desktop", beside.SYSTEM.name: "system"}


def rows(question: Question, found: Fit) -> list[ExplainRow]:
    """Return one dict per number: name, value with its unit, formula, source; [] without a computation."""
    if found.weights_gib_per_rank is None:
        return []
    made = [*_model(question, found)]
    for term in found.terms:
        place = "" if term.inside else " (outside the engine's share)"
        value = f"{term.gib:.2f} +- {term.uncertainty_gib:.2f} GiB{place}"
        made.append({**_row(term.name, value, term.formula, term.source), "cause": term.cause})
    return [*made, *_cache(question, found)]


def _model(question: Question, found: Fit) -> list[ExplainRow]:
    model, form = question.model, question.model.form
    rows = [
        _row(
            "weights_gib_per_rank",
            f"{found.weights_gib_per_rank:.3f} GiB",
            f"linear layers in {form.name} + (norms, biases, embeddings, lm_head, rotary table) x 2 bytes, in "
            f"2 MiB segments; over {question.tensor_parallel_size} rank(s)",
            f"{model.source}; {form.source}; PyTorch CUDACachingAllocator",
        ),
        _row(
            "kv_bytes_per_token_per_rank",
            f"{found.kv_bytes_per_token_per_rank} bytes",
            _KV_FORMULAS[_attention(model.architecture)],
            "vLLM 0.32 v1/kv_cache_interface.py; 40 logged token counts within 0.1 %",
        ),
    ]
    if found.state_bytes_per_sequence_per_rank:
        rows.append(
            _row(
                "state_bytes_per_sequence_per_rank",
                f"{found.state_bytes_per_sequence_per_rank / MIB:.1f} MiB",
                "layers x (value heads x value size x key size x bytes + convolution), without padding to a block",
                "vLLM 0.32 model_executor/layers/mamba/mamba_utils.py; a start log of 0.24 to the token",
            )
        )
    return rows


_KV_FORMULAS = {
    "plain": "2 x layers x max(1, key heads / ranks) x head_dim x bytes of a number",
    "full": "2 x layers with full attention x max(1, key heads / ranks) x head_dim x bytes of a number",
    "latent": "layers x (kv_lora_rank + qk_rope_head_dim) x bytes of a number, on each rank",
}


def _attention(architecture: Architecture) -> str:
    if architecture.latent:
        return "latent"
    return "full" if architecture.window or architecture.recurrent else "plain"


def _cache(question: Question, found: Fit) -> list[ExplainRow]:
    made = [
        _row(
            "kv_gib_per_rank",
            f"{found.kv_gib_per_rank:.2f} GiB",
            f"{question.card_gib:g} GiB x {question.gpu_memory_utilization:g} - weights - overhead",
            "vLLM 0.32 v1/worker/gpu_worker.py, determine_available_memory",
        ),
        _row(
            "kv_tokens",
            f"{found.kv_tokens} tokens",
            "whole blocks of the KV cache; requests of max_model_len x that length, with states or windows",
            "vLLM 0.32 v1/core/kv_cache_utils.py",
        ),
    ]
    if found.decode_ceiling_tokens_per_second is not None:
        made.append(
            _row(
                "decode_ceiling_tokens_per_second",
                f"{found.decode_ceiling_tokens_per_second:.1f} tokens/s",
                f"{question.bandwidth_gb_s:g} GB/s / bytes of weights read for a token, without the embedding table",
                "an upper bound for one sequence: the time for KV reads and for the rest is not included",
            )
        )
    return made


def explanation(made: list[ExplainRow]) -> str:
    """Return the rows for a person, three lines each."""
    lines = []
    for row in made:
        lines.append(f"  {row['name']}: {row['value']}" + (f", {row['cause']}" if "cause" in row else ""))
        lines += [f"      = {row['formula']}", f"      source: {row['source']}"]
    return "\n".join(lines)


def _row(name: str, value: str, formula: str, source: str) -> ExplainRow:
    return {"name": name, "value": value, "formula": formula, "source": source}


# The names of `numbers`, for an answer without numbers.
NUMBERS = tuple(FitNumbers.__annotations__)


def as_json(found: Fit, notes: tuple[str, ...], question: Question | None = None) -> dict[str, object]:
    """Return the answer about one model. `max_model_len_fits` has the verdict `fits`; 0: no length has it."""
    return {
        "schema": console.SCHEMA,
        "ok": True,
        "verdict": found.verdict,
        "max_model_len": question.max_model_len if question else None,
        "max_model_len_fits": longest(question) if question else None,
        **numbers(found),
        "reasons": [*found.reasons, *notes],
    }


def numbers(found: Fit) -> FitNumbers:
    """Return the numbers of a fit, None without a computation. The overhead's terms are those inside the share."""
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


def text(asked: NotedQuestion, found: Fit) -> str:
    """Return the answer for a person: the longest length first, then the use of each card's memory."""
    question = asked.question
    model, ranks = question.model, question.tensor_parallel_size
    where = f"{ranks} x " if ranks > 1 else ""
    where += f"{asked.card or asked.unlisted or 'a card'} of {question.card_gib:g} GiB"
    lines = [f"{model.name} ({model.form.name}) on {where}:", headline(question, found, asked.unlisted)]
    if found.weights_gib_per_rank is not None and found.kv_bytes_per_token_per_rank is not None:
        needed = pool(question).needed(question.max_model_len) / GIB
        share = question.card_gib * question.gpu_memory_utilization
        kib = found.kv_bytes_per_token_per_rank / 1024
        lines += [
            f"  share      {share:7.2f} GiB  gpu_memory_utilization {question.gpu_memory_utilization:g}",
            f"  weights    {found.weights_gib_per_rank:7.2f} GiB",
            f"  overhead   {found.overhead_gib:7.2f} GiB  +- {found.uncertainty_gib:.2f}",
            f"  KV cache   {found.kv_gib_per_rank:7.2f} GiB  {found.kv_tokens:,} tokens of {kib:g} KiB",
            f"  needed     {needed:7.2f} GiB  one request of {question.max_model_len:,} tokens",
        ]
    lines += [
        f"  {_BESIDE[term.name]:10} {term.gib:7.2f} GiB  outside the engine's share"
        for term in found.terms
        if term.name in _BESIDE
    ]
    if found.state_bytes_per_sequence_per_rank:
        states = found.state_bytes_per_sequence_per_rank / MIB
        lines.append(f"  states     {states:7.0f} MiB  of each request, beside its tokens")
    if found.decode_ceiling_tokens_per_second is not None:
        lines.append(f"  decode ceiling: {found.decode_ceiling_tokens_per_second:.0f} tokens/s for one sequence")
    return "\n".join([*lines, *(f"  {reason}" for reason in (*found.reasons, *asked.notes))])


def headline(question: Question, found: Fit, unlisted: str | None = None) -> str:
    """Return the verdict, and before it the longest length that fits where the question's length does not.

    `unlisted` is the name of a card that the catalog does not have.
    """
    asked = f"{question.max_model_len:,} tokens"
    if_supported = f", if vLLM supports {unlisted}" if unlisted else ""
    if found.verdict == FITS:
        return f"fits with {asked}{if_supported}"
    certain, expected = longest(question), longest(question, tight=True)
    beyond = f"does not fit with {asked}" if found.verdict == NO else f"uncertain with {asked}"
    if certain:
        more = f"; uncertain up to {expected:,}" if certain < expected < question.max_model_len else ""
        return f"fits with {certain:,} tokens{more}{if_supported}\n{beyond}"
    if not expected:
        return beyond if found.verdict == TIGHT else "does not fit"
    return beyond if expected == question.max_model_len else f"uncertain up to {expected:,} tokens\n{beyond}"


def holds(question: Question, found: Fit, *, any_length: bool) -> bool:
    """Return whether the verdict is `fits`, for the question's length or, with `any_length`, for a shorter one.

    `tight` does not count, as in a plan of a roster.
    """
    return found.verdict == FITS or (any_length and longest(question) > 0)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
