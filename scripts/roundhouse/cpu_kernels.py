"""What the engine on a CPU cannot compute there.

vLLM 0.32 brings three libraries for x86 and takes one by what the CPU has (platforms/cpu.py, import_kernels). The one
for AVX2 alone is without cpu_gemm_wna16, the product with 4-bit weights, and the engine finds out at its first request.
"""

from __future__ import annotations

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
# By their names in formats.WEIGHT_FORMATS.
_FOUR_BITS = ("awq", "gptq-int4", "w4a16")


def obstacle(form: str) -> str | None:
    """Return one sentence when the engine cannot run a format of formats.WEIGHT_FORMATS on this host's CPU."""
    if form in _FOUR_BITS and not _avx512():
        return "the engine computes 4-bit weights only on a CPU with AVX-512, which this one lacks: take fp8 or int8."
    return None


def _avx512() -> bool:
    """Say whether Linux lists AVX-512's foundation; true where it lists no flags at all: not x86, or not known."""
    lines = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    flags = next((line for line in lines if line.startswith("flags")), None)
    return flags is None or "avx512f" in flags.split()
