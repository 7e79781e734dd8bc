"""Plan a model of an uncovered architecture by the sizes of its files, within a wide band."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..catalog import hf_config
from ..catalog.architecture import Model, Unknown
from ..models import known

ROUGH_BAND = 0.15
_ROUGH_FIELDS = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size"),
    *("intermediate_size", "max_position_embeddings", "rope_scaling", "rope_parameters", "tie_word_embeddings"),
)


def rough(entry: Mapping[str, Any], name: str) -> Model | Unknown:
    """Return a model of an uncovered architecture by its files' sizes, with full attention in all layers.

    The weights are within ROUGH_BAND; a first start with an impossible max_model_len states vLLM's own numbers.
    """
    config = dict(entry["config"])
    text = {**config, **(config["text_config"] if isinstance(config.get("text_config"), dict) else {})}
    plain = {field: text[field] for field in _ROUGH_FIELDS if field in text}
    plain.setdefault("intermediate_size", plain.get("hidden_size"))
    found = hf_config.parse({**plain, "architectures": ["LlamaForCausalLM"]}, name)
    sums = known.held(entry.get("held"))
    if isinstance(found, Unknown) or sums is None:
        return found
    return found._replace(held=sums, band=ROUGH_BAND)
