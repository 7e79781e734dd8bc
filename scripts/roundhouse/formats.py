"""The weight formats that the pinned engine loads, and the names that people bring from elsewhere.

Source: vLLM 0.32, `model_executor/layers/quantization/__init__.py`. GGUF left vLLM's core in
0.24 (PR #39612) and bitsandbytes in 0.28 (PR #43529); both are plugins that patch every engine
of their environment, so they are not offered.
"""

from __future__ import annotations

# A roster's `quantization` -> what it is. None of them has to be written: the engine reads the
# format from the checkpoint. Writing it makes the wish explicit and checks it against the model.
FORMATS = {
    "awq": "4-bit weights, AWQ checkpoint",
    "gptq": "4- or 8-bit weights, GPTQ checkpoint",
    "compressed-tensors": "what llm-compressor writes: W4A16, W8A8, FP8, NVFP4",
    "fp8": "8-bit floating point checkpoint",
}

# llama.cpp's file types by their first letters, and the nearest format that vLLM has.
_GGUF_NEAREST = {"q2": "awq", "q3": "awq", "q4": "awq", "q5": "awq", "q6": "gptq", "q8": "gptq", "iq": "awq"}


def nearest(name: str) -> str | None:
    """Return the format closest to a llama.cpp file type such as q4_K_M, or None for another word."""
    lowered = name.lower()
    if lowered == "gguf":
        return "awq"
    return next((fmt for prefix, fmt in _GGUF_NEAREST.items() if lowered.startswith(prefix)), None)
