"""Speculative decoding as old set-ups ask for it, and the roster's speculative_config."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ..catalog import models
from ..roster import fields
from .report import ALREADY, BECAME, LEFT, NEAREST, NOTHING, Said

Values = Mapping[str, "str | None"]

_TOKENS = 4
_LOOKUP = {"prompt_lookup_max": 4, "prompt_lookup_min": 2}
_OFF = ("0", "false", "no", "off", "")


def _is_on(values: Values) -> bool:
    word = values.get("use-spec-decode", "0")
    return word is None or word.lower() not in _OFF


def _ngram(count: int) -> dict[str, Any]:
    return {"method": "ngram", "num_speculative_tokens": count, **_LOOKUP}


def _count(values: Values) -> int:
    for name in ("num-speculative-tokens", "spec-tokens", "spec-tree-size"):
        if (told := values.get(name) or "").isdecimal() and int(told) > 0:
            return int(told)
    return _TOKENS


def _said(config: dict[str, Any], fate: str, why: str) -> Said:
    for problem in fields.problems("speculative_config", "speculative_config", config):
        return Said(LEFT, problem)
    return Said(fate, why, {"speculative_config": config}, f"--speculative-config '{json.dumps(config)}'")


def _use(value: str | None, values: Values) -> Said:
    if not _is_on(values):
        return Said(ALREADY, "Nothing drafts unless it is asked to.")
    why = (
        "vLLM never had such a switch. n-gram drafts from the prompt and needs no second model: measure what it gives."
    )
    return _said(_ngram(_count(values)), NEAREST, why)


def _tree(value: str | None, values: Values) -> Said:
    if _is_on(values):
        taken = f"the number, {_count(values)}, is taken as num_speculative_tokens, how far vLLM drafts"
        return Said(NOTHING, f"vLLM drafts no tree; {taken}.")
    return Said(NOTHING, "vLLM drafts no tree; how far it drafts is num_speculative_tokens of speculative_config.")


def _config(value: str | None, values: Values) -> Said:
    try:
        told = json.loads(value or "")
        method = told.get("method") or ("draft_model" if told.get("model") else None)
    except (ValueError, AttributeError):
        return Said(LEFT, "it is no JSON object.")
    names = ("num_speculative_tokens", *_LOOKUP)
    kept = {name: told[name] for name in names if name in told}
    if method in ("ngram", "ngram_gpu", "[ngram]"):
        return _said(
            {**_ngram(_TOKENS), **kept}, BECAME if method == "ngram" else NEAREST, "It drafts from the prompt."
        )
    if method == "draft_model":
        return _draft(str(told.get("model")), values, {"num_speculative_tokens": _TOKENS, **kept})
    return Said(LEFT, f"{method} is not among the roster's methods, ngram and draft_model.")


def _model(value: str | None, values: Values) -> Said:
    if (value or "").strip("[]") == "ngram":
        return _said(_ngram(_count(values)), BECAME, "It drafts from the prompt; vLLM's option of this name has gone.")
    return _draft(value or "", values, {"num_speculative_tokens": _count(values)})


def _draft(name: str, values: Values, kept: dict[str, Any]) -> Said:
    target, draft = models.find(values.get("model") or ""), models.find(name)
    if target and draft and target.architecture.vocab_size != draft.architecture.vocab_size:
        sizes = f"{draft.architecture.vocab_size} and {target.architecture.vocab_size}"
        why = f"{name} and its target have vocabularies of {sizes} tokens, which vLLM refuses; n-gram needs no model."
        return _said(_ngram(kept["num_speculative_tokens"]), NEAREST, why)
    why = "A draft model takes memory of the card too, which the plan counts."
    return _said({"method": "draft_model", "model": name, **kept}, BECAME, why)


def _part(value: str | None, values: Values) -> Said:
    return Said(ALREADY, "It is a part of speculative_config, beside the model that drafts.")


def _method(value: str | None, values: Values) -> Said:
    if value in ("ngram", "ngram_gpu"):
        return _said(_ngram(_count(values)), BECAME, "It drafts from the prompt.")
    if value == "draft_model" and values.get("spec-model"):
        return _part(value, values)
    return Said(LEFT, f"{value} is not among the roster's methods, ngram and draft_model.")


SPECULATION: dict[str, Callable[[str | None, Values], Said]] = {
    "use-spec-decode": _use,
    "spec-tree-size": _tree,
    "speculative-config": _config,
    "speculative-model": _model,
    "spec-model": _model,
    "spec-method": _method,
    **dict.fromkeys(
        ("num-speculative-tokens", "spec-tokens", "ngram-prompt-lookup-max", "ngram-prompt-lookup-min"),
        _part,
    ),
}
