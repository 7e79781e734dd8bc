"""The weight formats that the pinned engine loads, and the names that people bring from elsewhere.

Source: vLLM 0.32, `model_executor/layers/quantization/__init__.py`. GGUF left vLLM's core in
0.24 (PR #39612) and bitsandbytes in 0.28 (PR #43529); both are plugins that patch every engine
of their environment, so they are not offered.
"""

from __future__ import annotations

from typing import NamedTuple

# A roster's `quantization` -> what it is. None of them has to be written: the engine reads the
# format from the checkpoint. Writing it checks it against the model.
FORMATS = {
    "awq": "4-bit weights, AWQ checkpoint",
    "gptq": "4- or 8-bit weights, GPTQ checkpoint",
    "compressed-tensors": "what llm-compressor writes: W4A16, W8A8, FP8, NVFP4",
    "fp8": "8-bit floating point checkpoint",
    "fp8_per_channel": "8-bit floating point, made of a 16-bit checkpoint while the engine loads it",
}
# Those of them that the engine makes of a 16-bit checkpoint (vLLM 0.32, config/quantization.py), and what comes out.
ONLINE = {"fp8_per_channel": "fp8"}
# --kv-cache-dtype -> bytes of one number. The others (int8_per_token_head, nvfp4, ...) keep scales beside.
KV_DTYPE_BYTES = {"auto": 2, "bfloat16": 2, "float16": 2, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1}

# llama.cpp's file types by their first letters, and the nearest format that vLLM has.
_GGUF_NEAREST = {"q2": "awq", "q3": "awq", "q4": "awq", "q5": "awq", "q6": "gptq", "q8": "gptq", "iq": "awq"}

Capability = tuple[int, int]


# All formats run from here on: in the format's own arithmetic, or by Marlin's kernels in 16 bits.
OLDEST_CAPABILITY: Capability = (7, 5)


class Format(NamedTuple):
    """How a checkpoint stores a linear layer, and which cards the engine runs it on."""

    name: str
    weight_bits: int
    source: str
    group_size: int = 0  # weights along the input that share a scale; 0: one scale for each output
    scale_bytes: int = 0
    zero_bits: int = 0  # of a group's zero point
    index_bytes: int = 0  # for each input feature, on disk only
    broken: tuple[Capability, ...] = ()  # where it fails though the card is new enough
    removed_in: str | None = None  # the version in which it left vLLM's core


_GPTQ_SOURCE = "vLLM 0.32 layers/quantization/auto_gptq.py:182"
_INT8_SOURCE = "capability: vLLM 0.32 compressed_tensors; 12.0: 'Int8 not supported on SM120', vllm#54311"
_BNB_SOURCE = "NF4, an 8-bit absmax for each 64; left vLLM's core in 0.28, PR #43529"
_CT = "vLLM 0.32 layers/quantization/compressed_tensors"

_FORMATS = (
    Format("bf16", 16, "two bytes a weight; float16 the same (bfloat16 wants 8.0)"),
    Format("awq", 4, "vLLM 0.32 layers/quantization/auto_awq.py:233", group_size=128, scale_bytes=2, zero_bits=4),
    Format("gptq-int4", 4, _GPTQ_SOURCE, group_size=128, scale_bytes=2, zero_bits=4, index_bytes=4),
    Format("gptq-int8", 8, _GPTQ_SOURCE, group_size=128, scale_bytes=2, zero_bits=8, index_bytes=4),
    Format("fp8", 8, "W8A8 from 8.9; weight-only by Marlin from 7.5", scale_bytes=4),
    Format("fp8-block", 8, "a 4-byte scale for each 128 x 128; else as fp8", group_size=128),
    Format("int8", 8, _INT8_SOURCE, scale_bytes=4, broken=((12, 0), (12, 1))),
    Format("w4a16", 4, _CT, group_size=128, scale_bytes=2),
    Format("w8a16", 8, _CT, group_size=128, scale_bytes=2),
    Format("nvfp4", 4, "native from 10.0, Marlin W4A16 below", group_size=16, scale_bytes=1),
    Format("bnb4", 4, _BNB_SOURCE, group_size=64, scale_bytes=1, removed_in="0.28"),
)
WEIGHT_FORMATS = {form.name: form for form in _FORMATS}

# What people and checkpoints call them. gptq and compressed-tensors alone do not say how many bits.
_ALIASES = {
    **dict.fromkeys(("none", "fp16", "float16", "bfloat16", "16-bit"), "bf16"),
    **dict.fromkeys(("awq_marlin", "auto_awq"), "awq"),
    **dict.fromkeys(("gptq4", "gptq_int4"), "gptq-int4"),
    **dict.fromkeys(("gptq8", "gptq_int8"), "gptq-int8"),
    **dict.fromkeys(("fp8_dynamic", "fp8_per_tensor", "fp8_per_channel"), "fp8"),
    **dict.fromkeys(("fp8_block", "fp8_per_block"), "fp8-block"),
    **dict.fromkeys(("w8a8", "int8-w8a8", "int8_w8a8", "w8a8_int8"), "int8"),
    **dict.fromkeys(("w4a16_ct",), "w4a16"),
    **dict.fromkeys(("int8_per_channel_weight_only",), "w8a16"),
    **dict.fromkeys(("modelopt_fp4", "fp4"), "nvfp4"),
    **dict.fromkeys(("bitsandbytes", "bnb", "bitsandbytes-4bit"), "bnb4"),
}
# A word for a family of formats -> its members.
FAMILIES = {
    **dict.fromkeys(("gptq", "gptq_marlin", "auto_gptq"), ("gptq-int4", "gptq-int8")),
    "compressed-tensors": ("w4a16", "w8a16", "int8", "fp8", "fp8-block", "nvfp4"),
    "fp8": ("fp8", "fp8-block"),
}
# Formats that vLLM 0.32 has and the arithmetic does not cover.
UNCOVERED = ("mxfp4", "mxfp8", "inc", "auto-round", "experts_int8", "fp_quant", "modelopt", "torchao", "quark")


def nearest(name: str) -> str | None:
    """Return the format closest to a llama.cpp file type such as q4_K_M, or None for another word."""
    lowered = name.lower()
    if lowered == "gguf":
        return "awq"
    return next((fmt for prefix, fmt in _GGUF_NEAREST.items() if lowered.startswith(prefix)), None)


def canonical(word: str) -> str | None:
    """Return the name in WEIGHT_FORMATS that a word means, None when it means none or several."""
    lowered = word.lower()
    name = _ALIASES.get(lowered, lowered)
    return name if name in WEIGHT_FORMATS else None


def members(word: str) -> tuple[str, ...]:
    """Return the names in WEIGHT_FORMATS that a word may mean, the plainest first; () for none."""
    name = canonical(word)
    return FAMILIES.get(word.lower()) or ((name,) if name else ())


def obstacle(form: Format, capability: Capability | None) -> str | None:
    """Return one sentence when the card cannot run the format, None when it can or is not known."""
    if form.removed_in:
        return (
            f"{form.name} is not in vLLM's core since {form.removed_in}: take awq or gptq-int4, which the engine loads."
        )
    if capability is None:
        return None
    have, oldest = (".".join(map(str, each)) for each in (capability, OLDEST_CAPABILITY))
    if capability in form.broken:
        return f"{form.name} fails on compute capability {have} ({form.source}): take fp8, awq or gptq-int8."
    if capability < OLDEST_CAPABILITY:
        return f"{form.name} wants compute capability {oldest} and the card has {have}."
    return None
