"""Read a model's config.json: its architecture, the format of its weights, and its KV cache.

What the fit's formulas do not cover is Unknown, with the field's name.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..util import json_file
from . import hf_layers
from .architecture import Architecture, Model, Unknown, Vision
from .hf_classes import CLASSES, UNCOVERED_FIELDS, Class
from .hf_formats import Unread, kv_cache_dtype, listed, mapping
from .hf_formats import read as read_formats
from .hf_layers import Uncovered, count

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.facts import ModelConfig

_NEEDED = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
_LONGEST_SIZE = 1 << 28
_MOST_LAYERS = 4096


def read(folder: Path) -> Model | Unknown:
    """Return the model of a folder's config.json. Raises UsageError for a missing or invalid file."""
    path = folder / "config.json"
    try:
        config = json_file.read_foreign(path)
    except FileNotFoundError:
        text = "The folder {folder} has no config.json."
        raise UsageError("model_folder_invalid", text, "Name the folder of a model.", folder=str(folder)) from None
    except (OSError, ValueError) as error:
        raise _unreadable(path, f"cannot be read as JSON ({error})") from error
    if not isinstance(config, dict):
        raise _unreadable(path, "does not contain a JSON object")
    return parse(config, str(folder))


def _unreadable(path: Path, reason: str) -> UsageError:
    return UsageError(
        "model_config_unreadable", "{path} {reason}.", "Download the model again.", path=str(path), reason=reason
    )


def parse(config: ModelConfig, name: str) -> Model | Unknown:
    """Return the model that a parsed config.json describes."""
    kind = next(iter(listed(config.get("architectures"))), None)
    if not isinstance(kind, str):
        return Unknown(name, "config.json has no architecture: `architectures` must be a list with the model's class.")
    known = CLASSES.get(kind)
    if known is None:
        return Unknown(name, f"config.json's architectures is {kind!r}, which the formulas do not cover.")
    stated = kv_cache_dtype(config)
    if stated is None:
        return Unknown(name, "config.json sets a KV cache type that the formulas do not cover.")
    try:
        architecture = _architecture(config, known, name)
        form, parts = read_formats(config)
    except (Uncovered, Unread) as error:
        return Unknown(name, f"config.json's {error}; the formulas do not cover it.")
    if form.experts_only and not architecture.moe_layers:
        return Unknown(name, f"config.json's quantization_config is {form.name}, which vLLM applies to experts only.")
    source = f"{name}/config.json"
    return Model(name, architecture, form, source, kv_cache_dtype=stated, parts=parts)


def _architecture(config: ModelConfig, known: Class, name: str) -> Architecture:
    text = _text(config, known)
    hidden, layers, heads = (count(text, field) for field in _NEEDED[:3])
    head_dim = count(text, "head_dim", default=0) or hidden // heads
    if head_dim < 1 and not known.latent:
        raise Uncovered(f"hidden_size is {hidden}, below num_attention_heads, {heads}")
    kinds = hf_layers.kinds(text, layers)
    _check(text, known, kinds)
    if kinds and len(kinds) != layers:
        raise Uncovered(f"layer_types has {len(kinds)} entries for {layers} layers")
    tied = text.get("tie_word_embeddings", known.tied)
    made = Architecture(
        name=name,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=count(text, "num_key_value_heads", default=0) or heads,
        head_dim=head_dim,
        intermediate_size=count(text, "intermediate_size", default=0),
        vocab_size=count(text, "vocab_size"),
        tie_word_embeddings=bool(config.get("tie_word_embeddings", tied)),
        qkv_bias=known.bias if known.bias is not None else bool(text.get("attention_bias", False)),
        qk_norm=known.qk_norm,
        max_position_embeddings=_positions(text),
        source=f"{name}/config.json",
        output_bias=known.window and known.bias is True,
        layer_embedding=count(text, "hidden_size_per_layer_input", default=0),
        draft_layers=count(text, "mtp_num_hidden_layers", "num_nextn_predict_layers", default=0),
        vision=_vision(config, known, hidden),
    )
    return _with_blocks(_with_layers(made, text, known, kinds), text, known, kinds)


def _text(config: ModelConfig, known: Class) -> dict[str, Any]:
    """Return the language model's part of a config.json. Raises Uncovered."""
    text: dict[str, Any] = mapping(config.get("text_config")) or dict(config)
    audio = known.vision == "gemma4" and mapping(config.get("audio_config"))
    for field in UNCOVERED_FIELDS:
        if (text.get(field) or config.get(field)) and not (audio and field == "audio_config"):
            raise Uncovered(f"{field} is set")
    for field in _NEEDED:
        value = text.get(field)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < _LONGEST_SIZE:
            raise Uncovered(f"{field} is {value!r}, not a count")
    if text["num_hidden_layers"] > _MOST_LAYERS:
        raise Uncovered(f"num_hidden_layers is {text['num_hidden_layers']}")
    return text


def _with_layers(made: Architecture, text: dict[str, Any], known: Class, kinds: list[str]) -> Architecture:
    """Return the architecture with the layers that differ from full attention, and its positions."""
    latent = hf_layers.latent(text) if known.latent else None
    rotary, mrope = _rotary(text, made.head_dim)
    return made._replace(
        attention_layers=kinds.count("full") if "mamba" in kinds else None,
        query_gate=known.states and "linear" in kinds and text.get("attn_output_gate", True) is not False,
        rotary_dim=latent.rope_dim if latent else rotary,
        mrope=mrope,
        recurrent=hf_layers.recurrent(text, kinds),
        window=hf_layers.window(text, kinds, made.num_key_value_heads, made.head_dim),
        latent=latent,
    )


def _vision(config: ModelConfig, known: Class, hidden: int) -> Vision | None:
    """Return the encoder of images, with that of audio in Gemma 4."""
    stated = mapping(config.get("vision_config")) if known.vision else {}
    if not stated:
        return None
    found = hf_layers.vision(stated, known.vision or "", hidden)
    audio = mapping(config.get("audio_config")) if known.vision == "gemma4" else {}
    more = hf_layers.gemma_audio(audio, hidden) if audio else 0
    return found._replace(parameters=found.parameters + more)


def _check(text: dict[str, Any], known: Class, kinds: list[str]) -> None:
    """Raise Uncovered for layers that the class does not have by the formulas."""
    if not known.latent and text.get("kv_lora_rank"):
        raise Uncovered("kv_lora_rank is set")
    states = bool({"linear", "mamba"} & set(kinds)) or "linear_num_key_heads" in text
    if states and not known.states:
        raise Uncovered("layer_types has layers with a state")
    in_use = text.get("use_sliding_window", True) is not False
    if not known.window and ("sliding" in kinds or (text.get("sliding_window") and in_use)):
        raise Uncovered("sliding_window is set")


def _with_blocks(made: Architecture, text: dict[str, Any], known: Class, kinds: list[str]) -> Architecture:
    """Return the architecture with its dense blocks and its experts."""
    experts = count(text, "num_experts", "num_local_experts", "n_routed_experts", default=0) if known.experts else 0
    if "mamba" in kinds:
        made = made._replace(dense_layers=kinds.count("block"), gated=False)
    if not experts:
        if not made.intermediate_size:
            raise Uncovered("intermediate_size is missing")
        return made
    # Some classes name the experts' size intermediate_size and have no dense block.
    size = count(text, "moe_intermediate_size", default=made.intermediate_size)
    chosen = count(text, "num_experts_per_tok", "top_k_experts", "experts_per_token", default=0)
    if not size or not chosen:
        raise Uncovered("moe_intermediate_size or num_experts_per_tok is missing")
    many = count(text, "n_shared_experts", default=0)
    shared = count(text, "shared_expert_intermediate_size", "moe_shared_expert_intermediate_size", default=0)
    beside = text.get("enable_moe_block") is True  # Gemma 4: a dense block and experts in one layer
    return made._replace(
        num_experts=experts,
        num_experts_per_tok=chosen,
        moe_intermediate_size=size,
        moe_layers=kinds.count("experts") if "mamba" in kinds else _moe_layers(text),
        shared_expert_intermediate_size=shared or many * size,
        shared_expert_gate="shared_expert_intermediate_size" in text,
        dense_layers=made.num_hidden_layers if beside else made.dense_layers,
    )


def _moe_layers(config: dict[str, Any]) -> int:
    step = count(config, "decoder_sparse_step", "moe_layer_freq", default=1) or 1
    layers = count(config, "num_hidden_layers")
    first = min(layers, count(config, "first_k_dense_replace", default=0))
    only = listed(config.get("mlp_only_layers"))
    dense = {index for index in only if isinstance(index, int) and 0 <= index < layers}
    return layers // step - first - sum(1 for index in dense if (index + 1) % step == 0)


def _rotary(text: dict[str, Any], head_dim: int) -> tuple[int, bool]:
    """Return the rotated part of a head, and whether the positions have three dimensions."""
    scaling = mapping(text.get("rope_parameters")) or mapping(text.get("rope_scaling"))
    factor = scaling.get("partial_rotary_factor", text.get("partial_rotary_factor"))
    share = factor if isinstance(factor, (int, float)) and 0 < factor <= 1 else 1.0
    return count(text, "rotary_dim", default=0) or int(head_dim * share), bool(scaling.get("mrope_section"))


def _positions(config: dict[str, Any]) -> int | None:
    """Return the longest max_model_len that vLLM accepts, with scaled rotary embeddings (vLLM's config/model.py)."""
    own = config.get("max_position_embeddings")
    scaling = mapping(config.get("rope_parameters")) or mapping(config.get("rope_scaling"))
    kind, factor = scaling.get("rope_type") or scaling.get("type"), scaling.get("factor")
    if isinstance(own, bool) or not isinstance(own, int) or not 0 < own < _LONGEST_SIZE:
        return None
    if not isinstance(factor, (int, float)) or not 0 < factor < math.inf:
        return own
    if kind == "yarn":
        original = scaling.get("original_max_position_embeddings")
        return int((original if isinstance(original, int) and original > 0 else own) * min(factor, 1e6))
    return int(own * min(factor, 1e6)) if kind in ("linear", "dynamic") else own
