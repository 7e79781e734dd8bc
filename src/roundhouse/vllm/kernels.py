"""Select an engine's attention kernels, and check which formats they run on the host's GPU or CPU.

On a GPU vLLM 0.32 uses FlashInfer on compute capability 10, and wherever FlashAttention has no 8-bit KV cache
(platforms/cuda.py, v1/attention/backends). The official image contains FlashInfer's `kernels` compiled. With wheels,
FlashInfer compiles them at the engine's start and needs nvcc in PATH or under CUDA_HOME, which a host may lack. Triton
has its own compiler and supports an 8-bit KV cache on newer cards.

On a CPU vLLM has three libraries for x86 and selects one by the CPU's features (platforms/cpu.py, import_kernels). The
library for AVX2 lacks cpu_gemm_wna16, the product with 4-bit weights; the engine fails only at its first request.
"""

from __future__ import annotations

from pathlib import Path

from .formats import KV_DTYPE_BYTES, Capability

FLASHINFER_KV_FP8_SINCE: Capability = (8, 0)
TRITON_KV_FP8_SINCE: Capability = (8, 9)
# The 8-bit types of FlashAttention 3, which runs on compute capability 9 only (v1/attention/backends/flash_attn.py).
_FLASH_3 = ("fp8", "fp8_e4m3")
CPUINFO = Path("/proc/cpuinfo")
# The 4-bit formats, by their names in formats.WEIGHT_FORMATS.
_FOUR_BITS = ("awq", "gptq-int4", "w4a16")


def kv_fp8_since(*, kernels: bool) -> Capability:
    """Return the oldest compute capability that supports an 8-bit KV cache."""
    return FLASHINFER_KV_FP8_SINCE if kernels else TRITON_KV_FP8_SINCE


def uses_flashinfer(kv_cache_dtype: str, capability: Capability | None, *, kernels: bool) -> bool:
    """Return true if FlashInfer runs the attention. An unknown card counts as one that uses it (more memory)."""
    return kernels and _wants_flashinfer(kv_cache_dtype, capability)


def backend(kv_cache_dtype: str, capability: Capability | None, *, kernels: bool) -> str | None:
    """Return the engine's attention-backend option, None if vLLM's own choice works."""
    if kernels or capability is None or not _wants_flashinfer(kv_cache_dtype, capability):
        return None
    return "TRITON_ATTN" if KV_DTYPE_BYTES[kv_cache_dtype] == 1 else "FLASH_ATTN"


def dtype(kv_cache_dtype: str, capability: Capability | None) -> str | None:
    """Return the engine's dtype option, None to keep the model's own dtype.

    With an 8-bit KV cache FlashAttention 3 supports bfloat16 output only ("For FP8 input, output must have dtype BF16",
    vllm-flash-attn's hopper/flash_api.cpp, seen on an H100). The AWQ and GPTQ models of Qwen2.5 are float16.
    """
    return "bfloat16" if capability is not None and capability[0] == 9 and kv_cache_dtype in _FLASH_3 else None


def _wants_flashinfer(kv_cache_dtype: str, capability: Capability | None) -> bool:
    major = capability[0] if capability else None
    if KV_DTYPE_BYTES[kv_cache_dtype] > 1:
        return major == 10
    return not (major == 9 and kv_cache_dtype in _FLASH_3)


def obstacle(form: str) -> str | None:
    """Return one sentence if the engine cannot run a format of formats.WEIGHT_FORMATS on this host's CPU."""
    if form in _FOUR_BITS and not _avx512():
        return "vLLM runs 4-bit weights only on a CPU with AVX-512, which this CPU lacks: use fp8 or int8."
    return None


def _avx512() -> bool:
    """Return true if Linux lists avx512f, or lists no flags at all (not x86, or unknown)."""
    lines = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    flags = next((line for line in lines if line.startswith("flags")), None)
    return flags is None or "avx512f" in flags.split()
