"""Read the format of a checkpoint's weights from its config.json, for the whole model and for the parts that differ."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..vllm.formats import WEIGHT_FORMATS, Format

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.facts import ModelConfig

Parts = tuple[tuple[str, Format], ...]

# The roles of fit/linears.py -> names of such a module within a layer, as checkpoints name them.
_MODULES = {
    "attention": ("self_attn.q_proj", "self_attn.qkv_proj", "self_attn.q_b_proj", "mixer.q_proj"),
    "recurrent": ("linear_attn.in_proj_qkv", "linear_attn.in_proj_qkvz", "mixer.in_proj", "mamba.in_proj"),
    "mlp": ("mlp.gate_proj", "mlp.gate_up_proj", "mixer.up_proj"),
    "experts": (
        *("mlp.experts.0.gate_proj", "mlp.experts.0.gate_up_proj", "block_sparse_moe.experts.0.w1"),
        *("mixer.experts.0.up_proj", "mlp.experts.gate_up_proj", "mlp.experts", "experts.0.gate_proj"),
    ),
    "shared": ("mlp.shared_expert.gate_proj", "mlp.shared_experts.gate_proj", "mixer.shared_experts.up_proj"),
}
_PREFIXES = ("model.", "model.language_model.", "language_model.model.", "backbone.", "")
_WHOLE = {"lm_head": ("lm_head", "language_model.lm_head"), "embedding": ("embed_tokens",)}
# A pattern of another maker's file is tried only in a form whose matching takes a bounded time.
_MOST_STARS = 3
_MOST_CHARACTERS = 160
_SAFE = re.compile(r"[\w.\\*+?$^|()\[\]-]*")
_NESTED = re.compile(r"\)[*+{?]|[*+]{2}")
# Layers whose names a list is compared with; a checkpoint that leaves a part in 16 bits leaves it so in most layers.
_LAYERS = range(128)
_UNQUANTIZED_BITS = (16, 32)


class Unread(ValueError):
    """The quantization is in a form that the formulas do not cover; the text names the field."""


def read(config: ModelConfig) -> tuple[Format, Parts]:
    """Return the checkpoint's format and the parts that have another. Raises Unread."""
    stated = mapping(config.get("quantization_config")) or mapping(config.get("compression_config"))
    if not stated:
        # A 32-bit checkpoint too: --dtype auto loads it as 16-bit (vLLM 0.32, config/model.py).
        return WEIGHT_FORMATS["bf16"], ()
    method = str(stated.get("quant_method", "")).lower()
    if method == "compressed-tensors":
        return _grouped(stated)
    if method.startswith("modelopt") and mapping(_layers(stated)):
        return _by_layer(mapping(_layers(stated)))
    form = _single(stated, method)
    skipped = _skipped(stated)
    return form, tuple((role, WEIGHT_FORMATS["bf16"]) for role in _roles(form) if role in skipped)


def _roles(form: Format) -> tuple[str, ...]:
    return () if form.name == "bf16" else tuple(_MODULES)


def _single(stated: Mapping[str, Any], method: str) -> Format:
    """Return the format of a method that has one for all layers."""
    bits, group = stated.get("bits"), stated.get("group_size")
    name = None
    if method in ("awq", "gptq"):
        name = {"awq 4": "awq", "gptq 4": "gptq-int4", "gptq 8": "gptq-int8"}.get(f"{method} {bits}")
    elif method in ("auto-round", "inc"):
        # AutoRound's packings have GPTQ's or AWQ's layout; symmetric ones drop the zero points for Marlin's kernel.
        asymmetric = "awq" if stated.get("sym") is False else "w4a16"
        name = {4: asymmetric, 8: "w8a16"}.get(bits) if isinstance(bits, int) else None
    elif method == "fp8":
        name = "fp8-block" if stated.get("weight_block_size") else "fp8"
    elif method in ("mxfp4", "gpt_oss_mxfp4"):
        name = "mxfp4"
    elif method == "bitsandbytes":
        name = "bnb4" if stated.get("load_in_4bit") else None
    elif method.startswith("modelopt"):
        inner = mapping(stated.get("quantization")) or stated
        name = _MODELOPT.get(str(inner.get("quant_algo", stated.get("quant_algo", ""))).upper())
    if name is None:
        raise Unread(f"quantization_config.quant_method is {method!r}")
    form = WEIGHT_FORMATS[name]
    if form.group_size and isinstance(group, int) and name not in ("fp8-block", "bnb4", "nvfp4", "mxfp4"):
        # One scale for a whole row is written as -1.
        form = form._replace(group_size=max(group, 0))
    return form


_MODELOPT = {
    **{"NVFP4": "nvfp4", "W4A16_NVFP4": "nvfp4", "NVFP4_AWQ": "nvfp4", "FP8": "fp8", "FP8_PB_WO": "fp8-block"},
    **{"MXFP4": "mxfp4", "W4A16_AWQ": "awq", "FP8_PER_CHANNEL_PER_TOKEN": "fp8"},
}


def _layers(stated: Mapping[str, Any]) -> object:
    return stated.get("quantized_layers") or mapping(stated.get("quantization")).get("quantized_layers")


def _by_layer(layers: Mapping[str, Any]) -> tuple[Format, Parts]:
    """Return the formats of a modelopt checkpoint that states one for each layer."""
    found: dict[str, Format] = {}
    for role, names in _candidates():
        entry = next((layers[name] for name in names if name in layers), None)
        algorithm = str(mapping(entry).get("quant_algo", "")).upper()
        if entry is not None and algorithm not in _MODELOPT:
            raise Unread(f"quantization_config.quantized_layers has quant_algo {algorithm!r}")
        found[role] = WEIGHT_FORMATS[_MODELOPT[algorithm]] if entry is not None else WEIGHT_FORMATS["bf16"]
    form = next((found[role] for role in ("experts", "mlp", "attention") if found[role].weight_bits < 16), None)
    if form is None:
        raise Unread("quantization_config.quantized_layers names no known layer")
    return form, _differing(form, found)


def _grouped(stated: Mapping[str, Any]) -> tuple[Format, Parts]:
    """Return the formats of a compressed-tensors checkpoint, whose groups name their layers."""
    groups = [mapping(group) for group in mapping(stated.get("config_groups")).values()]
    forms = [(_scheme(group), [str(word) for word in listed(group.get("targets"))]) for group in groups]
    if not forms:
        raise Unread("quantization_config.config_groups is empty")
    skipped = _skipped(stated)
    found: dict[str, Format] = {}
    for role, names in _candidates():
        named = next((form for form, targets in forms if _matches(targets, names)), None)
        general = next((form for form, targets in forms if not targets or "Linear" in targets), None)
        form = named or (general if role != "embedding" else None)
        found[role] = WEIGHT_FORMATS["bf16"] if form is None or role in skipped else form
    main = next((found[role] for role in ("experts", "mlp", "attention") if found[role].weight_bits < 16), forms[0][0])
    return main, _differing(main, found)


def _differing(main: Format, found: Mapping[str, Format]) -> Parts:
    """Return the parts that differ from the main format; head and embedding have 16 bits unless stated."""
    usual = {role: WEIGHT_FORMATS["bf16"] if role in _WHOLE else main for role in found}
    return tuple((role, form) for role, form in found.items() if form != usual[role])


def _scheme(group: Mapping[str, Any]) -> Format:
    held = mapping(group.get("weights"))
    bits, kind, strategy, size = (held.get(name) for name in ("num_bits", "type", "strategy", "group_size"))
    name = None
    if kind == "float" and bits == 8:
        return WEIGHT_FORMATS["fp8-block" if strategy == "block" else "fp8"]
    if kind == "float" and bits == 4:
        name = {16: "nvfp4", 32: "mxfp4"}.get(size) if isinstance(size, int) else None
        if name:
            return WEIGHT_FORMATS[name]._replace(experts_only=False)
    elif kind == "int" and bits == 8:
        name = "int8" if group.get("input_activations") else "w8a16"
    elif kind == "int" and bits == 4:
        # An asymmetric W4A16 has AWQ's layout: a scale and a zero point for each group.
        name = "w4a16" if held.get("symmetric", True) else "awq"
    if name is None:
        raise Unread(f"quantization_config has weights of type {kind!r} with {bits!r} bits")
    if name == "int8":
        return WEIGHT_FORMATS[name]
    return WEIGHT_FORMATS[name]._replace(group_size=max(size, 0) if isinstance(size, int) else 0)


def _candidates() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each role and the names that its modules may have in layers of a checkpoint."""
    for role, inner in _MODULES.items():
        yield (
            role,
            tuple(f"{prefix}layers.{layer}.{name}" for layer in _LAYERS for prefix in _PREFIXES for name in inner),
        )
    for role, whole in _WHOLE.items():
        yield role, tuple(f"{prefix}{name}" for prefix in _PREFIXES for name in whole)


def _skipped(stated: Mapping[str, Any]) -> set[str]:
    """Return the roles that the checkpoint leaves in 16 bits in most layers."""
    names = ("ignore", "modules_to_not_convert", "ignored_layers", "exclude_modules", "ignored_modules")
    inner = mapping(stated.get("quantization"))
    words = [str(word) for part in (stated, inner) for name in names for word in listed(part.get(name))]
    extra = mapping(stated.get("extra_config"))
    words += [name for name, entry in extra.items() if mapping(entry).get("bits", 4) in _UNQUANTIZED_BITS]
    found = set()
    for role, inner_names in _MODULES.items():
        # Layers of another kind, such as the first dense ones, are not counted: two layers in the middle decide.
        held = [
            any(
                _matches(words, tuple(f"{prefix}layers.{layer}.{name}" for prefix in _PREFIXES)) for name in inner_names
            )
            for layer in _MIDDLE
        ]
        if any(held):
            found.add(role)
    return found | {role for role, whole in _WHOLE.items() if _matches(words, whole)}


# A hybrid model has attention in every fourth layer, or in every sixth: these layers hold one of each kind.
_MIDDLE = range(8, 20)


def _matches(words: list[str], names: tuple[str, ...]) -> bool:
    """Return whether a word of the checkpoint's lists names one of the modules, itself or a module that holds it."""
    return any(_one(word, names) for word in words)


def _one(word: str, names: tuple[str, ...]) -> bool:
    if word.startswith("re:"):
        pattern = _pattern(word[3:])
        return any(pattern.match(name) for name in names)
    if "*" in word:
        if word.count("*") > _MOST_STARS or len(word) > _MOST_CHARACTERS:
            raise Unread(f"quantization_config has the pattern {word[:40]!r}")
        return any(fnmatch.fnmatchcase(name, word) or fnmatch.fnmatchcase(name, f"{word}.*") for name in names)
    return bool(word) and any(
        name == word or name.startswith(f"{word}.") or f".{word}." in f".{name}." for name in names
    )


def _pattern(text: str) -> re.Pattern[str]:
    safe = len(text) <= _MOST_CHARACTERS and _SAFE.fullmatch(text) and not _NESTED.search(text)
    if not safe or sum(text.count(star) for star in "*+") > _MOST_STARS:
        raise Unread(f"quantization_config has the pattern {text[:40]!r}")
    try:
        return re.compile(text)
    except re.error:
        raise Unread(f"quantization_config has the pattern {text[:40]!r}") from None


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


def listed(value: object) -> list[Any]:
    """Return a JSON list, an empty one for anything else."""
    return value if isinstance(value, list) else []
