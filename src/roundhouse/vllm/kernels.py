"""Say which kernels an engine computes with, as far as that decides what it can hold and what it needs of a host.

On a GPU vLLM 0.32 takes FlashInfer where FlashAttention has no 8-bit KV cache, and on compute capability 10 always
(platforms/cuda.py, v1/attention/backends). FlashInfer's `kernels` are compiled in the official image. In an environment
of wheels it would compile them when the engine starts, with an nvcc in PATH or under CUDA_HOME, which a host need not
have; Triton brings its own compiler, and takes an 8-bit KV cache on newer cards.

On a CPU it brings three libraries for x86 and takes one by what the CPU has (platforms/cpu.py, import_kernels). The one
for AVX2 alone is without cpu_gemm_wna16, the product with 4-bit weights, and the engine finds out at its first request.
"""

from __future__ import annotations

from pathlib import Path

from .formats import KV_DTYPE_BYTES, Capability

FLASHINFER_KV_FP8_SINCE: Capability = (8, 0)
TRITON_KV_FP8_SINCE: Capability = (8, 9)
# FlashAttention 3 is for compute capability 9 alone, and knows these (v1/attention/backends/flash_attn.py).
_FLASH_3 = ("fp8", "fp8_e4m3")
CPUINFO = Path("/proc/cpuinfo")
# By their names in formats.WEIGHT_FORMATS.
_FOUR_BITS = ("awq", "gptq-int4", "w4a16")


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


def obstacle(form: str) -> str | None:
    """Return one sentence when the engine cannot run a format of formats.WEIGHT_FORMATS on this host's CPU."""
    if form in _FOUR_BITS and not _avx512():
        return "the engine computes 4-bit weights only on a CPU with AVX-512, which this one lacks: take fp8 or int8."
    return None


def _avx512() -> bool:
    """Return whether Linux lists AVX-512's foundation; true where it lists no flags at all: not x86, or not known."""
    lines = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    flags = next((line for line in lines if line.startswith("flags")), None)
    return flags is None or "avx512f" in flags.split()
