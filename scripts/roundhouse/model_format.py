"""How a checkpoint stores its weights and means its KV cache to be, from its config.json."""

from __future__ import annotations

from typing import Any

from .formats import WEIGHT_FORMATS, Format


def read(config: dict[str, Any]) -> Format | str:
    """Return the checkpoint's format, or a sentence when it is none of those that the arithmetic knows."""
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
        return f"config.json's quantization_config.quant_method is {method!r}, in a form the arithmetic does not know."
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


def kv_cache_dtype(config: dict[str, Any]) -> str | None:
    """Return what vLLM makes of kv_cache_dtype auto, None where it is not one of fit_kv's.

    As `get_kv_cache_quant_algo_string` of 0.32's utils/torch_utils.py: only modelopt's checkpoints decide it there.
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
