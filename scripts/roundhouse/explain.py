"""Each number of a fit with the formula and the source that it comes from."""

from __future__ import annotations

from typing import Any

from .fit import Fit, Question


def rows(question: Question, found: Fit) -> list[dict[str, Any]]:
    """Return one dict a number: name, value with its unit, formula, source; [] when nothing was computed."""
    if found.weights_gib_per_rank is None:
        return []
    return [*_model(question, found), *_overhead(found), *_cache(question, found)]


def _model(question: Question, found: Fit) -> list[dict[str, Any]]:
    model, form = question.model, question.model.form
    return [
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
            "2 x layers x max(1, key heads / ranks) x head_dim x bytes of a number",
            "vLLM 0.32 v1/kv_cache_interface.py; 30 logged token counts within 0.14 %",
        ),
    ]


def _overhead(found: Fit) -> list[dict[str, Any]]:
    made = []
    for term in found.terms:
        place = "" if term.inside else " (outside the engine's share)"
        value = f"{term.gib:.2f} +- {term.uncertainty_gib:.2f} GiB{place}"
        made.append(_row(term.name, value, term.formula, term.source) | {"cause": term.cause})
    return made


def _cache(question: Question, found: Fit) -> list[dict[str, Any]]:
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
            "whole blocks of 16 tokens in the KV cache",
            "vLLM 0.32 v1/core/kv_cache_utils.py",
        ),
    ]
    if found.decode_ceiling_tokens_per_second is not None:
        made.append(
            _row(
                "decode_ceiling_tokens_per_second",
                f"{found.decode_ceiling_tokens_per_second:.1f} tokens/s",
                f"{question.bandwidth_gb_s:g} GB/s / bytes of weights read for a token, without the embedding table",
                "an upper bound for one sequence: KV reads and everything else come on top",
            )
        )
    return made


def text(made: list[dict[str, Any]]) -> str:
    """Return the rows for a person, three lines each."""
    lines = []
    for row in made:
        lines.append(f"  {row['name']}: {row['value']}" + (f", {row['cause']}" if "cause" in row else ""))
        lines += [f"      = {row['formula']}", f"      source: {row['source']}"]
    return "\n".join(lines)


def _row(name: str, value: str, formula: str, source: str) -> dict[str, Any]:
    return {"name": name, "value": value, "formula": formula, "source": source}
