"""Provide the weight formats that the pinned engine loads, and the other names in use for them.

Source: vLLM 0.32, `model_executor/layers/quantization/__init__.py`. GGUF was removed from vLLM's core in
0.24 (PR #39612) and bitsandbytes in 0.28 (PR #43529). Both are now plugins that patch every engine
of their environment, so Roundhouse does not support them.
"""

from __future__ import annotations

from typing import NamedTuple

from .defaults import PINNED_VERSION, Version, version

# A roster's `quantization` -> its description. The setting is optional: the engine reads the format from the
# checkpoint. If it is set, it is compared with the checkpoint.
FORMATS = {
    "awq": "4-bit weights, AWQ checkpoint",
    "gptq": "4- or 8-bit weights, GPTQ checkpoint",
    "compressed-tensors": "llm-compressor checkpoint: W4A16, W8A8, FP8 or NVFP4",
    "fp8": "8-bit floating point checkpoint",
    "fp8_per_channel": "8-bit floating point, quantized from a 16-bit checkpoint when the engine loads it",
}
# Formats that the engine makes from a 16-bit checkpoint (vLLM 0.32, config/quantization.py) -> the resulting format.
ONLINE = {"fp8_per_channel": "fp8"}
# --kv-cache-dtype -> bytes of one number. Other types (int8_per_token_head, nvfp4, ...) also store scales.
KV_DTYPE_BYTES = {"auto": 2, "bfloat16": 2, "float16": 2, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1}

# llama.cpp's file types by their first letters -> the closest format that vLLM loads.
_GGUF_NEAREST = {"q2": "awq", "q3": "awq", "q4": "awq", "q5": "awq", "q6": "gptq", "q8": "gptq", "iq": "awq"}

Capability = tuple[int, int]


# All formats run from this compute capability on: natively, or with Marlin's kernels in 16 bits.
OLDEST_CAPABILITY: Capability = (7, 5)


class Format(NamedTuple):
    """The storage of a linear layer in a checkpoint, and the cards that cannot run it."""

    name: str
    weight_bits: int
    source: str
    group_size: int = 0  # weights along the input that share a scale; 0: one scale per output
    scale_bytes: int = 0
    zero_bits: int = 0  # of a group's zero point
    index_bytes: int = 0  # per input feature, on disk only.
    broken: tuple[Capability, ...] = ()  # capabilities on which it fails although they are new enough
    removed_in: str | None = None  # the version that removed it from vLLM's core.
    experts_only: bool = False  # all other layers have 16 bits.
    round_up: tuple[int, int] = (1, 1)  # a kernel pads the hidden and the intermediate size to multiples.


_GPTQ_SOURCE = "vLLM 0.32 layers/quantization/auto_gptq.py:182"
_INT8_SOURCE = "capability: vLLM 0.32 compressed_tensors; 12.0: 'Int8 not supported on SM120', vllm#54311"
_BNB_SOURCE = "NF4, an 8-bit absmax per 64 weights; removed from vLLM's core in 0.28, PR #43529"
_MXFP4_SOURCE = "an 8-bit exponent per 32 weights; vLLM 0.32 layers/quantization/mxfp4.py converts experts only"
_CT = "vLLM 0.32 layers/quantization/compressed_tensors"

_FORMATS = (
    Format("bf16", 16, "two bytes per weight; float16 likewise (bfloat16 needs 8.0)"),
    Format("awq", 4, "vLLM 0.32 layers/quantization/auto_awq.py:233", group_size=128, scale_bytes=2, zero_bits=4),
    Format("gptq-int4", 4, _GPTQ_SOURCE, group_size=128, scale_bytes=2, zero_bits=4, index_bytes=4),
    Format("gptq-int8", 8, _GPTQ_SOURCE, group_size=128, scale_bytes=2, zero_bits=8, index_bytes=4),
    Format("fp8", 8, "W8A8 from 8.9; weight-only with Marlin from 7.5", scale_bytes=4),
    Format("fp8-block", 8, "a 4-byte scale per 128 x 128 block; otherwise as fp8", group_size=128),
    Format("int8", 8, _INT8_SOURCE, scale_bytes=4, broken=((12, 0), (12, 1))),
    Format("w4a16", 4, _CT, group_size=128, scale_bytes=2),
    Format("w8a16", 8, _CT, group_size=128, scale_bytes=2),
    Format("nvfp4", 4, "native from 10.0, Marlin W4A16 below", group_size=16, scale_bytes=1),
    Format("mxfp4", 4, _MXFP4_SOURCE, group_size=32, scale_bytes=1, experts_only=True),
    Format("bnb4", 4, _BNB_SOURCE, group_size=64, scale_bytes=1, removed_in="0.28"),
)
WEIGHT_FORMATS = {form.name: form for form in _FORMATS}

# Other names in use -> the format. gptq and compressed-tensors are missing because they do not state the bits.
_ALIASES = {
    **dict.fromkeys(("none", "fp16", "float16", "bfloat16", "16-bit"), "bf16"),
    **dict.fromkeys(("awq_marlin", "auto_awq"), "awq"),
    **dict.fromkeys(("gptq4", "gptq_int4"), "gptq-int4"),
    **dict.fromkeys(("gptq8", "gptq_int8"), "gptq-int8"),
    **dict.fromkeys(("fp8_dynamic", "fp8_per_tensor", "fp8_per_channel"), "fp8"),
    **dict.fromkeys(("fp8_block", "fp8_per_block"), "fp8-block"),
    **dict.fromkeys(("w8a8", "int8-w8a8", "int8_w8a8", "w8a8_int8"), "int8"),
    **dict.fromkeys(("w4a16_ct", "int4", "auto-round", "autoround", "int4_autoround", "inc"), "w4a16"),
    **dict.fromkeys(("int8_per_channel_weight_only",), "w8a16"),
    **dict.fromkeys(("modelopt_fp4", "fp4"), "nvfp4"),
    **dict.fromkeys(("bitsandbytes", "bnb", "bitsandbytes-4bit"), "bnb4"),
}
# The name of a family of formats -> its members.
FAMILIES = {
    **dict.fromkeys(("gptq", "gptq_marlin", "auto_gptq"), ("gptq-int4", "gptq-int8")),
    "compressed-tensors": ("w4a16", "w8a16", "int8", "fp8", "fp8-block", "nvfp4"),
    "fp8": ("fp8", "fp8-block"),
}
# Formats that vLLM 0.32 loads and the fit does not compute.
UNCOVERED = ("mxfp8", "experts_int8", "fp_quant", "modelopt", "torchao", "quark")


def nearest(name: str) -> str | None:
    """Return the format closest to a llama.cpp file type such as q4_K_M, None for any other word."""
    lowered = name.lower()
    if lowered == "gguf":
        return "awq"
    return next((fmt for prefix, fmt in _GGUF_NEAREST.items() if lowered.startswith(prefix)), None)


def canonical(word: str) -> str | None:
    """Return the name in WEIGHT_FORMATS that a word stands for, None if it stands for none or several."""
    lowered = word.lower()
    name = _ALIASES.get(lowered, lowered)
    return name if name in WEIGHT_FORMATS else None


def members(word: str) -> tuple[str, ...]:
    """Return the names in WEIGHT_FORMATS that a word may stand for, the simplest first; () for none."""
    name = canonical(word)
    return FAMILIES.get(word.lower()) or ((name,) if name else ())


def loaded(form: Format, capability: Capability | None) -> Format:
    """Return a format as the kernels of a card hold it.

    MXFP4 is padded for Marlin, the kernel of all cards but those of compute capability 9 (vLLM 0.32,
    fused_moe/oracle/mxfp4.py). On 9.0 Machete holds AWQ's zero points in 16 bits; an H100 stated 1.9 % more weights.
    """
    major = capability[0] if capability else None
    if form.name == "mxfp4":
        return form if major == 9 else form._replace(round_up=(256, 128))
    return form._replace(zero_bits=16) if form.name == "awq" and major == 9 else form


def obstacle(form: Format, capability: Capability | None, engine: Version = PINNED_VERSION) -> str | None:
    """Return one sentence if the card cannot run the format, None if it can or its capability is unknown."""
    if form.removed_in and engine >= (version(form.removed_in) or engine):
        return f"vLLM {form.removed_in} removed {form.name} from its core: use awq or gptq-int4."
    if capability is None:
        return None
    have, oldest = (".".join(map(str, each)) for each in (capability, OLDEST_CAPABILITY))
    if capability in form.broken:
        return f"{form.name} fails on compute capability {have} ({form.source}): use fp8, awq or gptq-int8."
    if capability < OLDEST_CAPABILITY:
        return f"{form.name} needs compute capability {oldest} and the card has {have}."
    return None
