"""Define a question to the fit, and the verdict of its answer.

The verdict is the worst of three: of the formats that the card runs, of the engine's share, and of the rest of the
card.
"""

from __future__ import annotations

from typing import NamedTuple

from ..catalog.architecture import Model
from ..vllm import defaults, formats
from ..vllm import kernels as vllm_kernels
from ..vllm.defaults import PINNED_VERSION, Version
from ..vllm.formats import Capability
from . import beside, overhead
from .kv_cache import BLOCK_TOKENS
from .term import Term

FITS, TIGHT, NO, UNKNOWN = "fits", "tight", "no", "unknown"


class Measured(NamedTuple):
    """Hold the values of an engine's own start log, in GiB on each rank. `overhead_gib` is inside its share."""

    weights_gib: float
    overhead_gib: float


class Question(NamedTuple):
    """Hold one engine on one kind of card. `card_gib` is CUDA's total, which is below the marketing GB.

    `max_num_seqs` and `max_num_batched_tokens` of None are vLLM's defaults. `capability` and `bandwidth_gb_s` of None
    are unknown, and the values that depend on them are not computed. `draft` is the model for speculative decoding;
    `measured` replaces computed terms. `tries_kernels`: the engine compiles at this start and tries its kernels; None:
    unknown. `speculates`: it drafts, with or without a draft model. `kernels`: FlashInfer's kernels are compiled
    (vllm/kernels.py). `desktop_gib` is the measured memory of the desktop on the card. `system_gib` is the memory that
    the host uses beside the engine, of a card with unified memory; None: the card has its own.

    `engine` is vLLM's version. `mtp`: it drafts `drafts` tokens with the checkpoint's own layers. `adapters` are LoRA
    slots of `adapter_rank`. `cpu_offload_gib` is the part of each rank's weights in the host's memory. `images` False:
    --language-model-only. `free_gib` is the card's free memory before the start; None: unknown.
    """

    model: Model
    card_gib: float
    max_model_len: int
    gpu_memory_utilization: float = defaults.UTILIZATION
    kv_cache_dtype: str = "auto"
    tensor_parallel_size: int = 1
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    enforce_eager: bool = False
    capability: Capability | None = None
    bandwidth_gb_s: float | None = None
    a100: bool = False
    shared_display: bool = False
    draft: Model | None = None
    measured: Measured | None = None
    tries_kernels: bool | None = None
    speculates: bool = False
    kernels: bool = True
    desktop_gib: float | None = None
    system_gib: float | None = None
    engine: Version = PINNED_VERSION
    unified: bool = False
    mtp: bool = False
    drafts: int = 0
    adapters: int = 0
    adapter_rank: int = 16
    cpu_offload_gib: float = 0.0
    pipeline_parallel_size: int = 1
    images: bool = True
    shared_prefixes: bool = True
    block_tokens: int = BLOCK_TOKENS
    samples_by_flashinfer: bool | None = None
    free_gib: float | None = None

    @property
    def batch(self) -> defaults.Batch:
        """Return the engine's limits, by its defaults where the question leaves them out."""
        return defaults.batch(
            self.max_model_len,
            defaults.Hardware(self.card_gib, self.a100, self.unified or self.system_gib is not None),
            max_num_seqs=self.max_num_seqs,
            max_num_batched_tokens=self.max_num_batched_tokens,
            engine=self.engine,
        )

    @property
    def share_gib(self) -> float:
        """Return the engine's memory by gpu_memory_utilization (vLLM: requested memory, v1/worker/utils.py)."""
        return self.card_gib * self.gpu_memory_utilization

    @property
    def kv_dtype(self) -> str:
        """Return the type; a checkpoint may define auto (vLLM 0.32, resolve_kv_cache_dtype_string)."""
        return self.model.kv_cache_dtype if self.kv_cache_dtype == "auto" else self.kv_cache_dtype


# The driver's own part of a card is less than this; more is another process.
_OTHERS_GIB = 0.1
Limit = tuple[str, str]  # a verdict and its sentence


def verdict(
    question: Question, resident: float, terms: list[Term], gap: float, unsure: float
) -> tuple[str, tuple[str, ...]]:
    """Return the verdict and a sentence for each limit. GiB on each rank: weights, missing memory, uncertainty."""
    if heavy := heavier(resident, question):
        limits = [(NO, heavy)]
    else:
        limits = [*_in_the_share(question, gap, unsure), *_beside_the_share(question, terms)]
    limits += _whatever_the_memory(question)
    verdicts = [found for found, _ in limits]
    worst = NO if NO in verdicts else TIGHT if TIGHT in verdicts else FITS
    return worst, tuple(reason for _, reason in limits)


def heavier(weights_gib: float, question: Question) -> str | None:
    """Return a sentence when the weights alone are more than the engine's share, None otherwise."""
    share = question.share_gib
    if weights_gib <= share:
        return None
    return f"The weights take {weights_gib:.2f} GiB and the engine's share is {share:.2f} GiB."


def _whatever_the_memory(question: Question) -> list[Limit]:
    own_limit = question.model.architecture.max_position_embeddings
    found = []
    if own_limit and question.max_model_len > own_limit:
        found.append(f"max_model_len is {question.max_model_len}, and the model's maximum is {own_limit}.")
    if question.system_gib is not None and question.gpu_memory_utilization > beside.UNIFIED_SHARE:
        share = f"gpu_memory_utilization is {question.gpu_memory_utilization:g}"
        found.append(f"{share}, and the card shares the host's memory: {beside.UNIFIED_RANGE}.")
    fp8, oldest = formats.KV_DTYPE_BYTES[question.kv_dtype] == 1, vllm_kernels.kv_fp8_since(kernels=question.kernels)
    if fp8 and question.capability is not None and question.capability < oldest:
        have, want = (".".join(map(str, each)) for each in (question.capability, oldest))
        other = "" if question.kernels else ", or agents_runtime: compose"
        text = f"An 8-bit KV cache requires compute capability {want}, and the card has {have}."
        found.append(f"{text} Use kv_cache_dtype auto{other}.")
    against = formats.obstacle(question.model.form, question.capability, question.engine)
    return [(NO, reason) for reason in [*found, *([against] if against else [])]]


def _in_the_share(question: Question, gap: float, unsure: float) -> list[Limit]:
    if gap <= -unsure:
        return []
    length = question.max_model_len
    if gap > 0:
        lacks = f"One request of {length:,} tokens lacks {gap:.2f} GiB of KV cache at the expected overhead"
        relation = "within" if gap <= unsure else "above"
        return [(TIGHT if gap <= unsure else NO, f"{lacks}, {relation} its uncertainty of {unsure:.2f} GiB.")]
    left = f"One request of {length:,} tokens leaves {-gap:.2f} GiB of KV cache at the expected overhead"
    return [(TIGHT, f"{left}, within its uncertainty of {unsure:.2f} GiB.")]


def _beside_the_share(question: Question, terms: list[Term]) -> list[Limit]:
    found: list[Limit] = []
    left = question.card_gib - question.share_gib
    if question.free_gib is not None and question.free_gib < question.share_gib:
        # vLLM refuses such a start (v1/worker/utils.py, request_memory).
        free = f"The card has {question.free_gib:.2f} GiB free and the engine's share is {question.share_gib:.2f} GiB."
        return [(NO, f"{free} Lower gpu_memory_utilization, or stop what uses the card.")]
    if question.free_gib is not None:
        others = question.card_gib - question.free_gib
        left -= max(0.0, others)
        if others > _OTHERS_GIB:
            text = (
                f"Other processes use {others:.2f} GiB of the card, and vLLM fails if they take more while it starts."
            )
            found.append((TIGHT, f"{text} Stop them."))
    outside = sum(term.gib for term in terms if not term.inside)
    margin = overhead.uncertainty(terms, inside=False)
    if not outside or outside + margin <= left:
        return found
    # An engine starts without the memory of a full sampler batch, and may fail under that load.
    to_start = outside - sum(term.gib for term in terms if term.name == overhead.SAMPLING)
    reason = (
        f"gpu_memory_utilization {question.gpu_memory_utilization:g} leaves {left:.2f} GiB of the card, and the engine "
        f"needs about {outside:.2f} GiB there. Lower it."
    )
    return [*found, (NO if to_start - margin > left else TIGHT, reason)]
