"""Define the terms of the overhead that are constants, by start logs."""

from __future__ import annotations

from .term import Term

_FLASHINFER_WORKSPACE_GIB = 394 / 1024  # VLLM_FLASHINFER_WORKSPACE_BUFFER_SIZE, in MiB

NON_TORCH = Term(
    name="non_torch",
    gib=0.2,
    uncertainty_gib=0.15,
    cause="CUDA kernels and library workspaces, loaded during the first pass",
    formula="a constant of the engine's generation",
    source="non_torch_memory in start logs: 0.02 to 0.28 GiB (0.6 to 0.10), 0.26 to 0.30 (0.25 to 0.32)",
)
SMALLER_LIBRARIES = NON_TORCH._replace(gib=0.08, uncertainty_gib=0.12)
NCCL = Term(
    name="nccl",
    gib=0.15,
    uncertainty_gib=0.2,
    cause="communication buffers between the ranks",
    formula="a constant for more than one rank",
    source="start logs with tensor parallelism: 0.1 to 0.6 GiB, once 1.8",
)
# The engine measures after the start of NCCL, so most of its memory is outside the share.
NCCL_RESIDENT = Term(
    name="nccl_resident",
    gib=0.5,
    uncertainty_gib=0.4,
    inside=False,
    cause="NCCL's buffers, allocated before vLLM measures the free memory",
    formula="a constant for more than one rank",
    source="start logs with the context: 93.83 of 95.01 GiB free (2 ranks), 137.64 of 139.8 (8 ranks)",
)
FLASHINFER = Term(
    name="attention_workspace",
    gib=_FLASHINFER_WORKSPACE_GIB,
    uncertainty_gib=0.2,
    cause="FlashInfer's workspace; FlashAttention 2 does not support an 8-bit KV cache",
    formula="394 MiB",
    source="VLLM_FLASHINFER_WORKSPACE_BUFFER_SIZE in vLLM 0.32's envs.py; attention selection on 12.0",
)
DISPLAY = Term(
    name="display",
    gib=0.15,
    uncertainty_gib=0.4,
    cause="a desktop or WSL that allocates memory during the measurement",
    formula="a constant for a shared card",
    source="start logs beyond the other terms: 0 to 0.5 GiB under WSL2, none on a desktop (d07 to d16)",
)
CONTEXT = Term(
    name="cuda_context",
    gib=0.45,
    uncertainty_gib=0.15,
    inside=False,
    cause="the CUDA context of the process, created before vLLM measures the free memory",
    formula="a constant",
    source="start logs: 23.05 of 23.56 and 39.0 of 39.49 GiB free when the engine looks; gpu_worker.py init_device",
)
DRAFT = Term(
    name="draft_model",
    gib=0.2,
    uncertainty_gib=0.2,
    cause="the draft model's activations and CUDA graphs; other terms count its weights and keys",
    formula="a constant for a draft model",
    source="an assumption with an equal uncertainty; an H100 had a whole overhead of 0.74 GiB, computed as 0.75",
)
DRAFT_LAYERS = DRAFT._replace(
    name="draft_layers",
    cause="the activations and CUDA graphs of multi-token prediction; other terms count its weights and keys",
    formula="a constant for multi-token prediction",
    source="an assumption with an equal uncertainty",
)
