"""A question to the fit, and the four words of its answer."""

from __future__ import annotations

from typing import NamedTuple

from . import engine_defaults
from .catalog import Model
from .formats import Capability

FITS, TIGHT, NO, UNKNOWN = "fits", "tight", "no", "unknown"


class Measured(NamedTuple):
    """What an engine stated when it ran so on this host, GiB on each rank. `overhead_gib` is inside its share."""

    weights_gib: float
    overhead_gib: float


class Question(NamedTuple):
    """One engine on one kind of card. GiB are CUDA's total, which is below the marketing GB.

    `max_num_seqs` and `max_num_batched_tokens` of None are vLLM's defaults. `capability` and
    `bandwidth_gb_s` of None are not known, which leaves out what depends on them. `draft` is the
    model that drafts for speculative decoding; `measured` takes the place of computed terms. `tries_kernels`:
    the engine compiles at this start and tries its kernels; None where that is not known. `speculates`: it drafts, with
    or without a model for it. `kernels`: it finds FlashInfer's compiled (attention.py).
    """

    model: Model
    card_gib: float
    max_model_len: int
    gpu_memory_utilization: float = engine_defaults.UTILIZATION
    kv_cache_dtype: str = "auto"
    tensor_parallel_size: int = 1
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    enforce_eager: bool = False
    engine: engine_defaults.Version = engine_defaults.PINNED
    capability: Capability | None = None
    bandwidth_gb_s: float | None = None
    a100: bool = False
    shared_display: bool = False
    draft: Model | None = None
    measured: Measured | None = None
    tries_kernels: bool | None = None
    speculates: bool = False
    kernels: bool = True

    @property
    def share_gib(self) -> float:
        """Return what gpu_memory_utilization gives the engine (vLLM: requested memory, v1/worker/utils.py)."""
        return self.card_gib * self.gpu_memory_utilization

    @property
    def kv_dtype(self) -> str:
        """Return what auto means: a checkpoint may state its own (vLLM 0.32, resolve_kv_cache_dtype_string)."""
        return self.model.kv_cache_dtype if self.kv_cache_dtype == "auto" else self.kv_cache_dtype
