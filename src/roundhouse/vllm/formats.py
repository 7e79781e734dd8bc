"""The weight formats that the pinned engine loads, and the names that people bring from elsewhere.

Source: vLLM 0.32, `model_executor/layers/quantization/__init__.py`. GGUF left vLLM's core in
0.24 (PR #39612) and bitsandbytes in 0.28 (PR #43529); both are plugins that patch every engine
of their environment, so they are not offered.
"""

from __future__ import annotations

from typing import NamedTuple

# A roster's `quantization` -> what it is. None of them has to be written: the engine reads the
# format from the checkpoint. Writing it makes the wish explicit and checks it against the model.
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


class Format(NamedTuple):
    """How a checkpoint stores a linear layer, and which cards the engine runs it on.

    `weight_bits` is per weight. A group of `group_size` weights along the input (0: one scale for each
    output) has a scale of `scale_bytes` and a zero point of `zero_bits`. `index_bytes` is per input
    feature and on disk only.
    `min_capability` is the lowest compute capability; `broken` lists those where it fails all the same.
    """

    name: str
    weight_bits: int
    group_size: int
    scale_bytes: int
    zero_bits: int
    index_bytes: int
    min_capability: Capability
    broken: tuple[Capability, ...]
    engine_removed: tuple[int, int] | None
    source: str


_INT8_SOURCE = "capability: vLLM 0.32 compressed_tensors; 12.0: 'Int8 not supported on SM120', vllm#54311"
_CT = "vLLM 0.32 layers/quantization/compressed_tensors"

# name, bits, group, scale, zero, index, lowest capability, broken on, left vLLM's core in, source.
_ROWS = (
    ("bf16", 16, 0, 0, 0, 0, (7, 5), (), None, "two bytes a weight; float16 the same (bfloat16 wants 8.0)"),
    ("awq", 4, 128, 2, 4, 0, (7, 5), (), None, "vLLM 0.32 layers/quantization/auto_awq.py:233"),
    ("gptq-int4", 4, 128, 2, 4, 4, (7, 5), (), None, "vLLM 0.32 layers/quantization/auto_gptq.py:182"),
    ("gptq-int8", 8, 128, 2, 8, 4, (7, 5), (), None, "vLLM 0.32 layers/quantization/auto_gptq.py:182"),
    ("fp8", 8, 0, 4, 0, 0, (7, 5), (), None, "W8A8 from 8.9; weight-only by Marlin from 7.5"),
    ("fp8-block", 8, 128, 0, 0, 0, (7, 5), (), None, "a 4-byte scale for each 128 x 128; else as fp8"),
    ("int8", 8, 0, 4, 0, 0, (7, 5), ((12, 0), (12, 1)), None, _INT8_SOURCE),
    ("w4a16", 4, 128, 2, 0, 0, (7, 5), (), None, _CT),
    ("w8a16", 8, 128, 2, 0, 0, (7, 5), (), None, _CT),
    ("nvfp4", 4, 16, 1, 0, 0, (7, 5), (), None, "native from 10.0, Marlin W4A16 below"),
    (
        "bnb4",
        4,
        64,
        1,
        0,
        0,
        (7, 5),
        (),
        (0, 28),
        "NF4, an 8-bit absmax for each 64; left vLLM's core in 0.28, PR #43529",
    ),
)
WEIGHT_FORMATS = {row[0]: Format(*row) for row in _ROWS}

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


def obstacle(form: Format, capability: Capability | None, engine: tuple[int, int]) -> str | None:
    """Return one sentence when the card cannot run the format, None when it can or is not known."""
    if form.engine_removed and engine >= form.engine_removed:
        since = ".".join(str(part) for part in form.engine_removed)
        return f"{form.name} is not in vLLM's core since {since}: take awq or gptq-int4, which the engine loads."
    if capability is None:
        return None
    card = f"compute capability {capability[0]}.{capability[1]}"
    if capability in form.broken:
        return f"{form.name} fails on {card} ({form.source}): take fp8, awq or gptq-int8."
    if capability < form.min_capability:
        low = f"{form.min_capability[0]}.{form.min_capability[1]}"
        return f"{form.name} wants compute capability {low} and the card has {capability[0]}.{capability[1]}."
    return None
