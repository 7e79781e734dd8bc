"""Which attention an engine computes with, as far as that decides what it can hold and what it needs of a host.

vLLM 0.32 takes FlashInfer where FlashAttention has no 8-bit KV cache, and on compute capability 10 always
(platforms/cuda.py, v1/attention/backends). FlashInfer's `kernels` are compiled in the official image. In an environment
of wheels it would compile them when the engine starts, with an nvcc in PATH or under CUDA_HOME, which a host need not
have; Triton brings its own compiler, and takes an 8-bit KV cache on newer cards.
"""

from __future__ import annotations

from .fit_kv import KV_DTYPE_BYTES
from .formats import Capability

FLASHINFER_KV_FP8_SINCE: Capability = (8, 0)
TRITON_KV_FP8_SINCE: Capability = (8, 9)
# FlashAttention 3 is for compute capability 9 alone, and knows these (v1/attention/backends/flash_attn.py).
_FLASH_3 = ("fp8", "fp8_e4m3")


def kv_fp8_since(*, kernels: bool) -> Capability:
    """Return the oldest compute capability with an 8-bit KV cache."""
    return FLASHINFER_KV_FP8_SINCE if kernels else TRITON_KV_FP8_SINCE


def uses_flashinfer(kv_cache_dtype: str, capability: Capability | None, *, kernels: bool) -> bool:
    """Return whether FlashInfer computes it; of a card that is not known, the one that takes more memory."""
    return kernels and _wants_flashinfer(kv_cache_dtype, capability)


def backend(kv_cache_dtype: str, capability: Capability | None, *, kernels: bool) -> str | None:
    """Return the engine's attention-backend, None where vLLM's own choice runs."""
    if kernels or capability is None or not _wants_flashinfer(kv_cache_dtype, capability):
        return None
    return "TRITON_ATTN" if KV_DTYPE_BYTES[kv_cache_dtype] == 1 else "FLASH_ATTN"


def dtype(kv_cache_dtype: str, capability: Capability | None) -> str | None:
    """Return what the engine has to compute in, None where it is the model's own.

    FlashAttention 3 answers from an 8-bit KV cache in bfloat16 alone ("For FP8 input, output must have dtype BF16",
    vllm-flash-attn's hopper/flash_api.cpp, seen on an H100), and the AWQ and GPTQ models of Qwen2.5 are in float16.
    """
    return "bfloat16" if capability is not None and capability[0] == 9 and kv_cache_dtype in _FLASH_3 else None


def _wants_flashinfer(kv_cache_dtype: str, capability: Capability | None) -> bool:
    major = capability[0] if capability else None
    if KV_DTYPE_BYTES[kv_cache_dtype] > 1:
        return major == 10
    return not (major == 9 and kv_cache_dtype in _FLASH_3)
