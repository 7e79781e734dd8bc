"""Read a model's config.json: its architecture, the format of its weights, and its KV cache.

What the fit's formulas do not cover is Unknown, with the reason.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..util import json_file
from ..vllm.formats import WEIGHT_FORMATS, Format
from .model_families import Architecture, Model, Unknown

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.facts import ModelConfig


def read_format(config: ModelConfig) -> Format | str:
    """Return the checkpoint's format, or a sentence for a format that the formulas do not cover."""
    stated = mapping(config.get("quantization_config")) or mapping(config.get("compression_config"))
    if not stated:
        # A 32-bit checkpoint too: --dtype auto loads it as 16-bit (vLLM 0.32, config/model.py).
        return WEIGHT_FORMATS["bf16"]
    method = str(stated.get("quant_method", "")).lower()
    name = None
    group = stated.get("group_size")
    if method in ("awq", "gptq"):
        name = {"awq 4": "awq", "gptq 4": "gptq-int4", "gptq 8": "gptq-int8"}.get(f"{method} {stated.get('bits')}")
    elif method == "fp8":
        name = "fp8-block" if stated.get("weight_block_size") else "fp8"
    elif method == "bitsandbytes":
        name = "bnb4" if stated.get("load_in_4bit") else None
    elif method == "modelopt":
        name = {"NVFP4": "nvfp4", "FP8": "fp8"}.get(str(stated.get("quant_algo", "")).upper())
    elif method == "compressed-tensors":
        name, group = _compressed(stated)
    if name is None:
        return (
            f"config.json's quantization_config.quant_method is {method!r}, in a form that the formulas do not cover."
        )
    form = WEIGHT_FORMATS[name]
    if form.group_size and isinstance(group, int) and name not in ("fp8-block", "bnb4", "nvfp4"):
        # One scale for a whole row is written as -1.
        form = form._replace(group_size=max(group, 0))
    return form


def _compressed(stated: dict[str, Any]) -> tuple[str | None, int | None]:
    groups = mapping(stated.get("config_groups"))
    if len(groups) != 1:
        return None, None
    group = mapping(next(iter(groups.values())))
    held = mapping(group.get("weights"))
    bits, kind, strategy = held.get("num_bits"), held.get("type"), held.get("strategy")
    size = held.get("group_size")
    if kind == "float" and bits == 8:
        return ("fp8-block" if strategy == "block" else "fp8"), None
    if kind == "float" and bits == 4 and size == 16:
        return "nvfp4", None
    if kind == "int" and bits == 8 and group.get("input_activations"):
        return "int8", None
    # An asymmetric W4A16 has AWQ's layout: a scale and a zero point for each group.
    names = {"int 4": "w4a16" if held.get("symmetric", True) else "awq", "int 8": "w8a16"}
    name = names.get(f"{kind} {bits}")
    return name, size if size else 0


def kv_cache_dtype(config: ModelConfig) -> str | None:
    """Return the type that vLLM uses for kv_cache_dtype auto, None outside vllm/formats.KV_DTYPE_BYTES.

    Source: `get_kv_cache_quant_algo_string` of 0.32's utils/torch_utils.py. Only modelopt's checkpoints set the type.
    """
    stated = mapping(config.get("quantization_config"))
    if not str(stated.get("quant_method", "")).startswith("modelopt"):
        return "auto"
    inner = mapping(stated.get("quantization")) or stated
    names = ("kv_cache_scheme", "kv_cache_quant_algo")
    scheme = next((part[name] for name in names for part in (inner, stated) if part.get(name)), None)
    if isinstance(scheme, dict):
        if scheme.get("type") != "float" or scheme.get("num_bits") not in (4, 8):
            return "auto"
        scheme = "fp8" if scheme["num_bits"] == 8 and scheme.get("dynamic") is False else None
    if scheme is None:
        return "auto" if not any(stated.get(name) or inner.get(name) for name in names) else None
    return "fp8" if str(scheme).lower() == "fp8" else "auto" if str(scheme).lower() == "none" else None


def mapping(value: Any) -> dict[str, Any]:
    """Return a JSON object, an empty one for anything else."""
    return value if isinstance(value, dict) else {}


# Llama's layout: pre-norm, grouped-query attention, a gated dense block, or the same with experts.
_DENSE = ("Qwen2ForCausalLM", "Qwen3ForCausalLM", "LlamaForCausalLM", "MistralForCausalLM", "Phi3ForCausalLM")
_EXPERTS = ("Qwen2MoeForCausalLM", "Qwen3MoeForCausalLM", "MixtralForCausalLM")
_NEEDED = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
_OPTIONAL = (
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
    "num_experts",
    "num_local_experts",
    "num_experts_per_tok",
    "moe_intermediate_size",
    "shared_expert_intermediate_size",
    "decoder_sparse_step",
)


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
    reason = _unnamed(config) or _uncovered(config) or _no_count(config)
    if reason:
        return Unknown(name, reason)
    architecture, form = _architecture(config, name), read_format(config)
    if isinstance(form, str):
        return Unknown(name, form)
    if architecture.head_dim < 1:
        return Unknown(name, f"config.json's hidden_size is smaller than its {architecture.num_attention_heads} heads.")
    if architecture.moe_layers and not (architecture.moe_intermediate_size and architecture.num_experts_per_tok):
        return Unknown(name, "config.json has experts without moe_intermediate_size and num_experts_per_tok.")
    stated = kv_cache_dtype(config)
    if stated is None:
        return Unknown(name, "config.json sets a KV cache type that the formulas do not cover.")
    source = f"{name}/config.json"
    return Model(name=name, architecture=architecture, form=form, source=source, kv_cache_dtype=stated)


def _no_count(config: ModelConfig) -> str | None:
    for field in (*_NEEDED, *_OPTIONAL):
        value = config.get(field)
        may_lack = field in _OPTIONAL and (value is None or value == 0)
        if not _count(value) and not may_lack:
            return f"config.json's {field} is {value!r}, not a count."
    return None


def _unnamed(config: ModelConfig) -> str | None:
    if isinstance(next(iter(_list(config.get("architectures"))), None), str):
        return None
    return "config.json has no architecture: `architectures` must be a list with the model's class."


def _uncovered(config: ModelConfig) -> str | None:
    kind = config["architectures"][0]
    if any(key in config for key in ("vision_config", "text_config", "audio_config")):
        return f"{kind} takes images or audio, and the formulas do not cover the encoder's memory."
    if config.get("kv_lora_rank"):
        return f"{kind} compresses its keys and values (MLA), so the KV formula does not apply."
    layer_types = {str(word) for word in _list(config.get("layer_types"))} - {"full_attention"}
    if any("linear" in word or "mamba" in word for word in layer_types) or "linear_num_key_heads" in config:
        return f"{kind} combines attention with linear attention (a hybrid), so the KV formula does not apply."
    window = config.get("sliding_window") if config.get("use_sliding_window", True) else None
    if layer_types or window:
        return f"{kind} uses a sliding window, so its layers keep fewer tokens than the KV formula states."
    if kind not in (*_DENSE, *_EXPERTS):
        known = ", ".join((*_DENSE, *_EXPERTS))
        return f"The formulas do not cover the architecture {kind}. They cover {known}."
    return None


def _architecture(config: ModelConfig, name: str) -> Architecture:
    kind = config["architectures"][0]
    heads = config["num_attention_heads"]
    experts = config.get("num_experts") or config.get("num_local_experts") or 0
    mixtral = kind == "MixtralForCausalLM"
    return Architecture(
        name=name,
        hidden_size=config["hidden_size"],
        num_hidden_layers=config["num_hidden_layers"],
        num_attention_heads=heads,
        num_key_value_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or config["hidden_size"] // heads,
        intermediate_size=config.get("intermediate_size") or 0,
        vocab_size=config["vocab_size"],
        tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
        qkv_bias=kind.startswith("Qwen2") or bool(config.get("attention_bias", False)),
        qk_norm=kind.startswith("Qwen3"),
        max_position_embeddings=_positions(config),
        source=f"{name}/config.json",
        num_experts=experts if kind in _EXPERTS else 0,
        num_experts_per_tok=config.get("num_experts_per_tok") or 0,
        moe_intermediate_size=(config["intermediate_size"] if mixtral else config.get("moe_intermediate_size")) or 0,
        moe_layers=_moe_layers(config) if kind in _EXPERTS and experts else 0,
        shared_expert_intermediate_size=config.get("shared_expert_intermediate_size") or 0,
    )


def _moe_layers(config: ModelConfig) -> int:
    step = config.get("decoder_sparse_step") or 1
    layers: int = config["num_hidden_layers"]
    dense = {index for index in _list(config.get("mlp_only_layers")) if isinstance(index, int) and 0 <= index < layers}
    return layers // step - sum(1 for index in dense if (index + 1) % step == 0)


def _positions(config: ModelConfig) -> int | None:
    """Return the longest max_model_len that vLLM accepts, with scaled rotary embeddings (vLLM's config/model.py)."""
    own = config.get("max_position_embeddings")
    scaling = mapping(config.get("rope_parameters")) or mapping(config.get("rope_scaling"))
    kind, factor = scaling.get("rope_type") or scaling.get("type"), scaling.get("factor")
    if not isinstance(own, int) or own < 1:
        return None
    if not isinstance(factor, (int, float)) or not 0 < factor < math.inf:
        return own
    if kind == "yarn":
        original = scaling.get("original_max_position_embeddings")
        return int((original if isinstance(original, int) else own) * factor)
    return int(own * factor) if kind in ("linear", "dynamic") else own


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
