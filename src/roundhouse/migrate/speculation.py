"""Convert old settings for speculative decoding into `speculative_config` of the roster."""

from __future__ import annotations

from typing import Any

from ..catalog import model_families
from .options import is_on, json_object
from .report import APPROXIMATED, CONVERTED, DEFAULT, DROPPED, UNSUPPORTED, Outcome, Setting, Source

_TOKENS = 4
_LOOKUP = {"prompt_lookup_max": 4, "prompt_lookup_min": 2}


def _tokens(source: Source) -> int:
    counts = map(source.value, ("num-speculative-tokens", "spec-tokens", "spec-tree-size"))
    return next((int(count) for count in counts if count.isdecimal() and int(count) > 0), _TOKENS)


def _ngram(why: str = "It drafts from the prompt.", kind: str = CONVERTED, **config: Any) -> Outcome:
    return Outcome(kind, why, {"speculative_config": {"method": "ngram", **config, **(_LOOKUP | config)}})


def _config(method: str, source: Source, name: str, **config: Any) -> Outcome:
    """Return the outcome for a method and its draft model."""
    if method.strip("[]") in ("ngram", "ngram_gpu"):
        return _ngram(kind=CONVERTED if method == "ngram" else APPROXIMATED, **config)
    if method != "draft_model" or not name:
        return Outcome(DROPPED, f"The roster supports ngram and draft_model (with a model), but not {method}.")
    target, draft = model_families.find(source.value("model")), model_families.find(name)
    if target and draft and target.architecture.vocab_size != draft.architecture.vocab_size:
        sizes = f"{draft.architecture.vocab_size} and {target.architecture.vocab_size}"
        why = f"The vocabularies of {name} and its target differ ({sizes} tokens), so vLLM refuses it; ngram works."
        return _ngram(why, APPROXIMATED, **config)
    why = "The plan includes the card memory that the draft model needs."
    return Outcome(CONVERTED, why, {"speculative_config": {"method": "draft_model", "model": name, **config}})


def use_spec_decode(setting: Setting, source: Source) -> Outcome:
    """Convert the guide's VLLM_USE_SPEC_DECODE."""
    if not is_on(setting.value):
        return Outcome(DEFAULT, "Speculative decoding is off by default.")
    why = "vLLM never had this variable. Method ngram drafts from the prompt and needs no second model"
    return _ngram(f"{why}: measure its effect.", APPROXIMATED, num_speculative_tokens=_tokens(source))


def spec_tree_size(setting: Setting, source: Source) -> Outcome:
    """Convert the guide's VLLM_SPEC_TREE_SIZE."""
    why = "the number of draft tokens is num_speculative_tokens of speculative_config"
    if is_on(source.value("use-spec-decode")):
        why = f"its value, {_tokens(source)}, is used as num_speculative_tokens, the number of draft tokens"
    return Outcome(UNSUPPORTED, f"vLLM has no draft trees; {why}.")


def speculative_config(setting: Setting, source: Source) -> Outcome:
    """Convert --speculative-config."""
    config = json_object(setting.value)
    method = config.get("method") or ("draft_model" if config.get("model") else None)
    lookup = {name: config[name] for name in _LOOKUP if name in config}
    tokens = config.get("num_speculative_tokens", _TOKENS)
    return _config(str(method), source, str(config.get("model")), num_speculative_tokens=tokens, **lookup)


def speculative_model(setting: Setting, source: Source) -> Outcome:
    """Convert --speculative-model, which vLLM has removed, or --spec-model."""
    method = "ngram" if setting.value.strip("[]") == "ngram" else "draft_model"
    return _config(method, source, setting.value, num_speculative_tokens=_tokens(source))


def spec_method(setting: Setting, source: Source) -> Outcome:
    """Convert --spec-method."""
    return _config(setting.value, source, source.value("spec-model"), num_speculative_tokens=_tokens(source))
