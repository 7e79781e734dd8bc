"""The rules of speculative decoding in its old forms: `speculative_config` of a roster."""

from __future__ import annotations

from typing import Any

from ..catalog import model_families
from .options import is_on, json_object
from .report import ALREADY, BECAME, LEFT, NEAREST, NOTHING, Outcome, Setting, Source

_TOKENS = 4
_LOOKUP = {"prompt_lookup_max": 4, "prompt_lookup_min": 2}


def _tokens(source: Source) -> int:
    counts = map(source.value, ("num-speculative-tokens", "spec-tokens", "spec-tree-size"))
    return next((int(count) for count in counts if count.isdecimal() and int(count) > 0), _TOKENS)


def _ngram(why: str = "It drafts from the prompt.", fate: str = BECAME, **config: Any) -> Outcome:
    return Outcome(fate, why, {"speculative_config": {"method": "ngram", **config, **(_LOOKUP | config)}})


def _config(method: str, source: Source, name: str, **config: Any) -> Outcome:
    """Return the outcome of a method and its draft model."""
    if method.strip("[]") in ("ngram", "ngram_gpu"):
        return _ngram(fate=BECAME if method == "ngram" else NEAREST, **config)
    if method != "draft_model" or not name:
        return Outcome(LEFT, f"{method} is not among the roster's methods, ngram and draft_model (with its model).")
    target, draft = model_families.find(source.value("model")), model_families.find(name)
    if target and draft and target.architecture.vocab_size != draft.architecture.vocab_size:
        sizes = f"{draft.architecture.vocab_size} and {target.architecture.vocab_size}"
        why = f"{name} and its target have vocabularies of {sizes} tokens, which vLLM refuses; n-gram needs no model."
        return _ngram(why, NEAREST, **config)
    why = "A draft model takes memory of the card too, which the plan counts."
    return Outcome(BECAME, why, {"speculative_config": {"method": "draft_model", "model": name, **config}})


def use_spec_decode(setting: Setting, source: Source) -> Outcome:
    """Read the guide's VLLM_USE_SPEC_DECODE."""
    if not is_on(setting.value):
        return Outcome(ALREADY, "Nothing drafts unless it is asked to.")
    why = "vLLM never had such a switch. n-gram drafts from the prompt and needs no second model"
    return _ngram(f"{why}: measure what it gives.", NEAREST, num_speculative_tokens=_tokens(source))


def spec_tree_size(setting: Setting, source: Source) -> Outcome:
    """Read the guide's VLLM_SPEC_TREE_SIZE."""
    why = "how far it drafts is num_speculative_tokens of speculative_config"
    if is_on(source.value("use-spec-decode")):
        why = f"the number, {_tokens(source)}, is taken as num_speculative_tokens, how far vLLM drafts"
    return Outcome(NOTHING, f"vLLM drafts no tree; {why}.")


def speculative_config(setting: Setting, source: Source) -> Outcome:
    """Read --speculative-config."""
    config = json_object(setting.value)
    method = config.get("method") or ("draft_model" if config.get("model") else None)
    lookup = {name: config[name] for name in _LOOKUP if name in config}
    tokens = config.get("num_speculative_tokens", _TOKENS)
    return _config(str(method), source, str(config.get("model")), num_speculative_tokens=tokens, **lookup)


def speculative_model(setting: Setting, source: Source) -> Outcome:
    """Read --speculative-model, which vLLM has no more, or --spec-model."""
    method = "ngram" if setting.value.strip("[]") == "ngram" else "draft_model"
    return _config(method, source, setting.value, num_speculative_tokens=_tokens(source))


def spec_method(setting: Setting, source: Source) -> Outcome:
    """Read --spec-method."""
    return _config(setting.value, source, source.value("spec-model"), num_speculative_tokens=_tokens(source))
