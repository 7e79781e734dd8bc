"""The rules of speculative decoding in its old forms: `speculative_config` of a roster."""

from __future__ import annotations

from typing import Any

from ..catalog import models
from .options import is_on, json_object
from .report import ALREADY, BECAME, LEFT, NEAREST, NOTHING, Outcome, Setting, Source

PART = Outcome(ALREADY, "It is a part of speculative_config, beside the model that drafts.")
_TOKENS = 4
_LOOKUP = {"prompt_lookup_max": 4, "prompt_lookup_min": 2}
_NGRAM = "It drafts from the prompt."


def _tokens(source: Source) -> int:
    counts = map(source.value, ("num-speculative-tokens", "spec-tokens", "spec-tree-size"))
    return next((int(count) for count in counts if count.isdecimal() and int(count) > 0), _TOKENS)


def _ngram(tokens: int, why: str = _NGRAM, fate: str = BECAME, **config: Any) -> Outcome:
    config = {"method": "ngram", "num_speculative_tokens": tokens, **_LOOKUP, **config}
    return Outcome(fate, why, {"speculative_config": config})


def _draft(source: Source, name: str, tokens: int, **config: Any) -> Outcome:
    target, draft = models.find(source.value("model")), models.find(name)
    if target and draft and target.architecture.vocab_size != draft.architecture.vocab_size:
        sizes = f"{draft.architecture.vocab_size} and {target.architecture.vocab_size}"
        why = f"{name} and its target have vocabularies of {sizes} tokens, which vLLM refuses; n-gram needs no model."
        return _ngram(tokens, why, NEAREST)
    config = {"method": "draft_model", "model": name, "num_speculative_tokens": tokens, **config}
    why = "A draft model takes memory of the card too, which the plan counts."
    return Outcome(BECAME, why, {"speculative_config": config})


def use_spec_decode(setting: Setting, source: Source) -> Outcome:
    """Read the guide's VLLM_USE_SPEC_DECODE."""
    if not is_on(setting.value):
        return Outcome(ALREADY, "Nothing drafts unless it is asked to.")
    why = "vLLM never had such a switch. n-gram drafts from the prompt and needs no second model"
    return _ngram(_tokens(source), f"{why}: measure what it gives.", NEAREST)


def spec_tree_size(setting: Setting, source: Source) -> Outcome:
    """Read the guide's VLLM_SPEC_TREE_SIZE."""
    why = "how far it drafts is num_speculative_tokens of speculative_config"
    if is_on(source.value("use-spec-decode")):
        why = f"the number, {_tokens(source)}, is taken as num_speculative_tokens, how far vLLM drafts"
    return Outcome(NOTHING, f"vLLM drafts no tree; {why}.")


def speculative_config(setting: Setting, source: Source) -> Outcome:
    """Read --speculative-config."""
    config = json_object(setting.value)
    method = str(config.get("method") or ("draft_model" if config.get("model") else None)).strip("[]")
    tokens = config.get("num_speculative_tokens", _TOKENS)
    lookup = {name: config[name] for name in _LOOKUP if name in config}
    if method in ("ngram", "ngram_gpu"):
        return _ngram(tokens, fate=BECAME if method == "ngram" else NEAREST, **lookup)
    if method == "draft_model":
        return _draft(source, str(config.get("model")), tokens, **lookup)
    return Outcome(LEFT, f"{method} is not among the roster's methods, ngram and draft_model.")


def speculative_model(setting: Setting, source: Source) -> Outcome:
    """Read --speculative-model, which vLLM has no more, or --spec-model."""
    if setting.value.strip("[]") == "ngram":
        return _ngram(_tokens(source), f"{_NGRAM[:-1]}; vLLM's option of this name has gone.")
    return _draft(source, setting.value, _tokens(source))


def spec_method(setting: Setting, source: Source) -> Outcome:
    """Read --spec-method."""
    if setting.value in ("ngram", "ngram_gpu"):
        return _ngram(_tokens(source))
    if setting.value == "draft_model" and source.value("spec-model"):
        return PART
    return Outcome(LEFT, f"{setting.value} is not among the roster's methods, ngram and draft_model.")
