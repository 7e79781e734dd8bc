"""The overhead's terms in words, and those that are constants: cause, formula and source of each.

The observations named c05 and so on are public start-up logs of vLLM; `plan.py --calibrate FILE` shows such a file.
"""

from __future__ import annotations

from typing import NamedTuple

_FLASHINFER_WORKSPACE_GIB = 394 / 1024  # VLLM_FLASHINFER_WORKSPACE_BUFFER_SIZE, in MiB
MEASURED = "measured_overhead"
SAMPLING = "sampling"


class Term(NamedTuple):
    """GiB on each rank. `inside` says whether gpu_memory_utilization's share pays for it."""

    name: str
    gib: float
    uncertainty_gib: float
    inside: bool
    cause: str
    formula: str
    source: str


FORWARD_WORDS = (
    "one forward pass over max_num_batched_tokens",
    "max_num_batched_tokens x (2 x hidden_size + widest layer / ranks) x 2 bytes",
    "vLLM's profile_run; widths from the model's config",
)
SAMPLER_WORDS = {
    each: (
        "sampling max_num_seqs requests over the whole vocabulary",
        f"max_num_seqs x vocab_size x {each} bytes + max_num_batched_tokens x hidden_size x 2 bytes",
        "vLLM's _dummy_sampler_run; vllm#33538 and vllm#32558 for the bytes; start logs c05, c17, c19, c48",
    )
    for each in ("38.5", "14", "2")
}
PENALTY_WORDS = (
    "counts for penalties, kept for each request over the whole vocabulary",
    "max_num_seqs x vocab_size x 4.125 bytes",
    "vLLM 0.32 v1/worker/gpu/sample/penalties.py; the second model runner, vllm#44443",
)
BURST_WORDS = (
    "top-k and top-p over the whole vocabulary, which the second model runner does not measure",
    "max_num_seqs x vocab_size x 10 bytes",
    "vLLM 0.32 v1/worker/gpu/model_runner.py, the note in _dummy_sampler_run",
)
NON_TORCH_WORDS = (
    "CUDA kernels and library workspaces, loaded during the first pass",
    "a constant of the engine's generation",
    "non_torch_memory in start logs of 0.6 to 0.10: 0.02 to 0.28 GiB",
)
GRAPH_WORDS = (
    "CUDA graphs captured for the decode batch sizes",
    "0.15 GiB + graphs x layers x 0.12 MiB",
    "profile_cudagraph_memory of 0.32; logs: 0.1 to 0.9 GiB, three of 1.6 to 2.4. Inside the share since 0.21, "
    "for the second model runner since 0.29",
)
COMPILATION_WORDS = (
    "the first start compiles, and tries kernels on a random copy of the embedding table",
    "the table - activation_peak, and since 0.28 the table once more; half of it where it is not known",
    "vllm/config/compilation.py (benchmark_combo_kernel), torch/_inductor/codegen/triton.py (rand_strided); "
    "vllm#54122, vllm#54383; start logs c29, c41, c42, c43",
)
_NCCL_SOURCE = "start logs with tensor parallelism: 0.1 to 0.6 GiB, once 1.8"
NCCL_V0 = [
    Term(
        "nccl",
        0.15,
        0.2,
        True,
        "communication buffers between the ranks",
        "a constant for more than one rank",
        _NCCL_SOURCE,
    )
]
# V1 measures after NCCL is up, so most of it is the card's and not the share's.
NCCL = [
    NCCL_V0[0],
    Term(
        "nccl_resident",
        0.5,
        0.4,
        False,
        "NCCL's own buffers, allocated before vLLM looks at the free memory",
        "a constant for more than one rank",
        "start logs with the context: 93.83 of 95.01 GiB free (2 ranks), 137.64 of 139.8 (8 ranks)",
    ),
]
FLASHINFER = Term(
    "attention_workspace",
    _FLASHINFER_WORKSPACE_GIB,
    0.2,
    True,
    "FlashInfer's workspace: FlashAttention 2 does not take an 8-bit KV cache",
    "394 MiB",
    "VLLM_FLASHINFER_WORKSPACE_BUFFER_SIZE in vLLM 0.32's envs.py; attention selection on 12.0",
)
DISPLAY = [
    Term(
        "display",
        0.3,
        0.5,
        True,
        "a desktop or WSL that grows while the engine measures",
        "a constant for a shared card",
        "start logs under WSL2: 0 to 0.5 GiB beyond the other terms",
    ),
    Term(
        "display_resident",
        0.7,
        0.5,
        False,
        "a desktop's own surfaces: free memory has to exceed the engine's share",
        "a constant for a shared card",
        "public reports of a desktop on the card: 0.5 to 1 GiB",
    ),
]
CONTEXT = Term(
    "cuda_context",
    0.45,
    0.15,
    False,
    "the process's CUDA context, created before vLLM looks at the free memory",
    "a constant",
    "start logs: 23.05 of 23.56 and 39.0 of 39.49 GiB free when the engine looks; gpu_worker.py init_device",
)
DRAFT = Term(
    "draft_model",
    0.2,
    0.2,
    True,
    "the draft model's own activations and CUDA graphs; its weights and keys are counted as such",
    "a constant for a draft model",
    "an assumption, with an uncertainty as large; of the whole overhead 0.74 GiB where 0.75 were computed (an H100)",
)


def measured(gib: float) -> Term:
    """Return the one term that an engine's own start log gives in place of the computed ones."""
    return Term(
        MEASURED,
        gib,
        0.1,
        True,
        "everything in the share but weights and KV cache, as the engine stated it at an earlier start here",
        "share - weights - KV cache of that start",
        "the engine's start log; three starts of one configuration differed by 0.04 GiB",
    )
