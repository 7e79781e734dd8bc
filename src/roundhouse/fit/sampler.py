"""Compute the memory of selecting tokens, which differs by vLLM's version and its sampler."""

from __future__ import annotations

from ..catalog.architecture import Architecture
from ..util.units import GIB
from ..vllm.defaults import V1_SINCE, Batch, Version
from .sizes import BYTES_16BIT
from .term import Term

SAMPLING = "sampling"
# Sorting the vocabulary (torch.sort) needs 38.5 bytes for a logit at its peak. Start logs: 1.40 GiB at 256 x 151936
# (c17), 0.94 at 256 x 100352 (c19), 1.26 at 256 x 128256 (c05).
_SORT_BYTES = 38.5
# FlashInfer sorts nothing: logits in 16 and 32 bits, and probabilities. The V1 engine took it where it was installed
# ("Using FlashInfer for top-p & top-k sampling", v1/sample/ops/topk_topp_sampler.py), until Triton's sampler came.
_FLASHINFER_BYTES = 10.0
# The Triton sampler of vllm#33538 (0.17): the same, noise, and one row for each program ("around 80 MiB" there).
_TRITON_SINCE: Version = (0, 17)
_TRITON_BYTES = 14.0
_TRITON_ROWS = 128
_TRITON_ROW_BYTES = 4
# The second model runner samples its dummy batch without top-k and top-p, so vLLM measures 16-bit logits only. It keeps
# 4 1/8 bytes per logit for penalties (v1/worker/gpu/sample/penalties.py). The memory of real sampling is outside the
# share. It is the default for dense models since 0.25 (vllm#44443), for all since 0.29.
_SECOND_BYTES = 2.0
# The first runner's dummy rejection sampler has two rows of logits for each request, in 16 and in 32 bits. The source
# is _dummy_sampler_run in v1/worker/gpu_model_runner.py. A start log has 5.66 GiB at 1024 x 248320 (d49).
_REJECTION_BYTES = 10.0
_SECOND_SINCE: Version = (0, 25)
_SECOND_OTHERS_SINCE: Version = (0, 29)
_PENALTY_BYTES = 4.125
_BURST_BYTES = 10


def second_runner(architecture: Architecture, engine: Version) -> bool:
    """Return whether vLLM's second model runner runs a model."""
    plain = not (architecture.moe_layers or architecture.recurrent or architecture.vision or architecture.window)
    return engine >= (_SECOND_SINCE if plain else _SECOND_OTHERS_SINCE)


def peak_gib(
    architecture: Architecture, batch: Batch, engine: Version, flashinfer: bool | None, *, drafts: bool = False
) -> tuple[float, float, str]:
    """Return the GiB of sampling the largest batch while vLLM measures, their uncertainty, and the bytes of a logit.

    `flashinfer` None: unknown. vLLM's wheels did not bring FlashInfer, so PyTorch's sort is expected, and the
    uncertainty includes half of the difference.
    """
    logits = batch.max_num_seqs * architecture.vocab_size / GIB
    more = _REJECTION_BYTES if drafts else 0.0
    hidden = batch.max_num_batched_tokens * architecture.hidden_size * BYTES_16BIT / GIB
    if second_runner(architecture, engine):
        return hidden + logits * _SECOND_BYTES, 0.0, f"{_SECOND_BYTES:g}"
    if engine >= _TRITON_SINCE:
        rows = _TRITON_ROWS * architecture.vocab_size * _TRITON_ROW_BYTES / GIB
        each = _TRITON_BYTES + more
        return hidden + logits * each + rows, 0.0, f"{each:g}"
    if engine < V1_SINCE or flashinfer is False:
        return hidden + logits * _SORT_BYTES, 0.0, f"{_SORT_BYTES:g}"
    if flashinfer:
        return hidden + logits * _FLASHINFER_BYTES, 0.0, f"{_FLASHINFER_BYTES:g}"
    half = (_SORT_BYTES - _FLASHINFER_BYTES) / 2
    return hidden + logits * _SORT_BYTES, logits * half, f"{_SORT_BYTES:g}"


def second_runner_terms(architecture: Architecture, batch: Batch) -> list[Term]:
    """Return the second model runner's own memory for sampling: its counts, and the burst beside the share."""
    logits_gib = batch.max_num_seqs * architecture.vocab_size / GIB
    state, burst = logits_gib * _PENALTY_BYTES, logits_gib * _BURST_BYTES
    return [
        Term(
            name="sampler_state",
            gib=state,
            uncertainty_gib=0.05 * state,
            cause="counts for penalties, for each request over the whole vocabulary",
            formula="max_num_seqs x vocab_size x 4.125 bytes",
            source="vLLM 0.32 v1/worker/gpu/sample/penalties.py; the second model runner, vllm#44443",
        ),
        Term(
            name=SAMPLING,
            gib=burst,
            uncertainty_gib=0.4 * burst,
            inside=False,
            cause="top-k and top-p over the whole vocabulary, which the second model runner does not measure",
            formula="max_num_seqs x vocab_size x 10 bytes",
            source="vLLM 0.32 v1/worker/gpu/model_runner.py, the note in _dummy_sampler_run",
        ),
    ]
