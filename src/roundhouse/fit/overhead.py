"""Compute the memory of a running engine besides weights and KV cache, each part as a term with its cause.

vLLM measures these at its start (v1/worker/gpu_worker.py, utils/mem_utils.py) and gives the KV cache the rest of its
share of the card. Logs show from 0.4 to 2.9 GiB, so one constant is not enough: each term depends on its own inputs.
Each has an uncertainty, a half-width that covers most logs. The causes are independent, so the uncertainties add in
quadrature.

The formulas are those of the asked engine, by default the pinned one. The observations named c05, d07 and so on are
public start-up logs of vLLM; `benchmarks/calibration.py FILE` compares such a file with the fit.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ..catalog.architecture import Architecture
from ..util.units import GIB, MIB
from ..vllm.defaults import PINNED_VERSION, V1_SINCE, Batch, Version, captured_graphs
from . import beside, sampler
from .constants import (
    CONTEXT,
    DISPLAY,
    DRAFT,
    DRAFT_LAYERS,
    FLASHINFER,
    NCCL,
    NCCL_RESIDENT,
    NON_TORCH,
    SMALLER_LIBRARIES,
)
from .sampler import SAMPLING
from .sizes import BYTES_16BIT, embedding_bytes
from .term import Term

__all__ = ["DRAFT", "MEASURED", "SAMPLING", "Setup", "forward_gib", "measured", "terms", "uncertainty"]

# The name of a term that other modules look for.
MEASURED = "measured_overhead"
# Start logs of 0.19 to 0.27: 5 graphs take 0.13 GiB and 15 graphs 0.22 (64 layers both). 86 graphs take 0.52 GiB
# (36 layers) and 0.53 (28). But 9 graphs took 0.35, and 86 graphs 1.6 to 2.4 three times. Each graph has a launch for
# every piece of each layer; the cause of the larger values is unknown.
_GRAPH_BASE_GIB = 0.15
_GRAPH_LAYER_GIB = 0.12 * MIB / GIB
# vLLM takes the graphs' memory from the KV cache since this version, with the second model runner since a later one.
GRAPHS_COUNTED_SINCE: Version = (0, 21)
RUNNER_2_GRAPHS_COUNTED_SINCE: Version = (0, 29)
_UNNAMED_GIB = 0.25
# Inductor tries fused kernels since this version (vllm#26682), and keeps the copies since the second one.
_COMBO_KERNELS_SINCE: Version = (0, 12)
_COMPILED_REMAINS_SINCE: Version = (0, 28)
# Of CUDA's and PyTorch's libraries: eight logs of 0.6 to 0.24 state 0.02 to 0.28 GiB, with a median of 0.08. Logs of
# 0.25 to 0.32 state 0.26 to 0.30.
_LARGER_LIBRARIES_SINCE: Version = (0, 25)


class Setup(NamedTuple):
    """Hold the settings of the engine that determine its overhead."""

    batch: Batch
    ranks: int
    eager: bool
    flashinfer: bool  # FlashInfer computes the attention (vllm/kernels.py)
    shared_display: bool
    desktop_gib: float | None  # measured; None: a constant
    system_gib: float | None  # None: the card has its own memory
    # The engine compiles and tries its kernels at this start; None: unknown.
    tries_kernels: bool | None
    engine: Version = PINNED_VERSION
    # FlashInfer selects the tokens in engines that may use it; None: unknown.
    samples_by_flashinfer: bool | None = None
    adapters: int = 0  # LoRA slots
    drafts: int = 0  # num_speculative_tokens of multi-token prediction
    unpacked: int = 0  # weights of the largest layer, of a format that is unpacked before the product
    images: bool = True  # False: --language-model-only


def terms(architecture: Architecture, setup: Setup) -> list[Term]:
    """Return the terms that apply."""
    peak = _activations(architecture, setup)
    libraries = NON_TORCH if setup.engine >= _LARGER_LIBRARIES_SINCE else SMALLER_LIBRARIES
    found = [peak, libraries, *_compilation(architecture, peak.gib, setup)]
    if sampler.second_runner(architecture, setup.engine):
        found += sampler.second_runner_terms(architecture, setup.batch)
    if setup.ranks > 1:
        found += [NCCL] if setup.engine < V1_SINCE else [NCCL, NCCL_RESIDENT]
    if setup.flashinfer:
        found.append(FLASHINFER)
    if not setup.eager:
        found.append(_graphs(architecture, setup))
    if setup.drafts:
        found.append(DRAFT_LAYERS)
    if setup.shared_display:
        found.append(DISPLAY)
    if setup.system_gib is not None:
        found += [beside.PAGE_CACHE, beside.system(setup.system_gib)]
    elif setup.shared_display:
        found.append(beside.desktop(setup.desktop_gib))
    return found if setup.engine < V1_SINCE else [*found, CONTEXT]


def uncertainty(found: list[Term], inside: bool) -> float:
    """Return the half-width of the sum of the terms inside or outside the share, in GiB.

    Inside, the sum has _UNNAMED_GIB for memory without a term: the weights' last half percent, an odd library. A
    measurement, which is the first term, includes all of it.
    """
    unnamed = _UNNAMED_GIB if inside and found[0].name != MEASURED else 0.0
    return math.sqrt(unnamed**2 + sum(term.uncertainty_gib**2 for term in found if term.inside is inside))


def forward_gib(arch: Architecture, setup: Setup) -> float:
    """Return the peak of a forward pass: residual, hidden state, and one layer's widest tensors.

    In a dense block these are the fused gate and up, and their product. With experts they are the copies of each token
    for its experts (fused_experts' workspaces). Without torch.compile two more copies of the hidden state live on.
    """
    ranks, experts = setup.ranks, arch.num_experts_per_tok
    dense = 3 * arch.intermediate_size // ranks if arch.plain_layers else 0
    attention = (2 * arch.num_attention_heads + 2 * arch.num_key_value_heads) // ranks * arch.head_dim
    expert = arch.moe_intermediate_size // ranks
    routed = experts * (max(2 * expert, arch.hidden_size) + expert)
    widest = max(dense, attention, routed, _recurrent_width(arch) // ranks)
    copies = 4 if setup.engine < V1_SINCE else 2
    numbers = setup.batch.max_num_batched_tokens * (copies * arch.hidden_size + widest) + setup.unpacked
    return numbers * BYTES_16BIT / GIB


def _recurrent_width(arch: Architecture) -> int:
    """Return the numbers of a token in a recurrent layer: projection, convolution, and the state's inputs in 32 bits.

    Gated DeltaNet repeats keys and queries for each value head and computes in chunks in 32 bits (fla/ops/chunk.py).
    """
    states = arch.recurrent
    if states is None:
        return 0
    keys, values = states.key_heads * states.key_dim, states.value_heads * states.value_dim
    return 2 * (2 * keys + values) + 2 * values + 2 * (2 * states.value_heads * states.key_dim + values)


def _encoder_gib(arch: Architecture, setup: Setup) -> float:
    """Return the peak of the image encoder on its largest image, and the cache of its output (profile_run)."""
    image = arch.vision
    # The V0 engine measured without large images: 1.16 GiB for all of Qwen2-VL-7B (c54).
    if image is None or not setup.images or setup.engine < V1_SINCE:
        return 0.0
    patches = image.image_tokens * image.merged
    width = 6 * image.hidden_size + 2 * image.intermediate_size // setup.ranks
    cached = max(image.image_tokens, setup.batch.max_num_batched_tokens) * arch.hidden_size
    return (patches * width + cached) * BYTES_16BIT / GIB


def _activations(arch: Architecture, setup: Setup) -> Term:
    forward, encoder = forward_gib(arch, setup), _encoder_gib(arch, setup)
    sampled, unsure, each = sampler.peak_gib(
        arch, setup.batch, setup.engine, setup.samples_by_flashinfer, drafts=bool(setup.drafts)
    )
    # The dummy run frees the layers' tensors before it samples, and the encoder's before the layers.
    if encoder > max(forward, sampled):
        return Term(
            name="activation_peak",
            gib=encoder,
            uncertainty_gib=0.1 + 0.3 * encoder,
            cause="the image encoder on its largest image, which vLLM runs while it measures",
            formula="patches x (6 x hidden_size + 2 x intermediate_size / ranks) x 2 bytes + the encoder cache",
            source="vLLM 0.32 v1/worker/gpu/model_runner.py, profile_run; none with --language-model-only",
        )
    if forward > sampled:
        return Term(
            name="activation_peak",
            gib=forward,
            uncertainty_gib=0.1 + 0.15 * forward,
            cause="one forward pass over max_num_batched_tokens",
            formula="max_num_batched_tokens x (2 x hidden_size + widest layer / ranks) x 2 bytes",
            source="vLLM's profile_run; widths from the model's config",
        )
    return Term(
        name="activation_peak",
        gib=sampled,
        uncertainty_gib=0.1 + 0.1 * sampled + unsure,
        cause="sampling max_num_seqs requests over the whole vocabulary",
        formula=f"max_num_seqs x vocab_size x {each} bytes + max_num_batched_tokens x hidden_size x 2 bytes",
        source="vLLM's _dummy_sampler_run; vllm#33538 and vllm#32558 for the bytes; start logs c05, c17, c19, c48",
    )


def _compilation(arch: Architecture, peak_gib: float, setup: Setup) -> list[Term]:
    """Return the memory of a start that compiles and tries its kernels.

    Inductor fuses kernels side by side and tries each fusion (vllm#26682) on random copies of all inputs, with the
    embedding table. A start that compiles has that as its peak, and since 0.28 keeps about the same amount until its
    end. The logs show 1.46 GiB for a table of 1.45 (0.28, two models), and 0.67 GiB for a table of 0.58 (0.29). A start
    that finds the compiled code does not take it, and an L4 of 0.28 kept nothing (d33).

    On an H100, 0.32 without the trials had peaks of 1.07 (7B) and 1.54 GiB (14B), for tables of 1.02 and 1.45 GiB. The
    tuning during the compilation caused them; without it, the peaks were 0.41 and 0.32 GiB
    (tests/fixtures/starts/h100.json).
    """
    if setup.eager or setup.tries_kernels is False or setup.engine < _COMBO_KERNELS_SINCE:
        return []
    table = embedding_bytes(arch, setup.ranks) / GIB
    more = max(0.0, table - peak_gib) + (table if setup.engine >= _COMPILED_REMAINS_SINCE else 0.0)
    if not more:
        return []
    # For an unknown start, both cases are equally likely.
    gib, unsure = (more, 0.1 + 0.5 * more) if setup.tries_kernels else (more / 2, more / 2)
    return [
        Term(
            name="first_compilation",
            gib=gib,
            uncertainty_gib=unsure,
            cause="the first start compiles, and tries kernels on a random copy of the embedding table",
            formula="2 x the table - activation_peak; half of it for an unknown start",
            source="vllm/config/compilation.py (benchmark_combo_kernel), torch/_inductor/codegen/triton.py "
            "(rand_strided); vllm#54122, vllm#54383; start logs c29, c41, c42, c43",
        )
    ]


def _graphs(arch: Architecture, setup: Setup) -> Term:
    count = captured_graphs(setup.batch.max_num_seqs, setup.engine)
    gib = _GRAPH_BASE_GIB + count * arch.num_hidden_layers * _GRAPH_LAYER_GIB
    if setup.adapters:
        # With and without an adapter: an RTX 4090 stated 102 + 70 graphs and 1.28 GiB for 36 layers (d20).
        gib *= 2
    second = sampler.second_runner(arch, setup.engine)
    counted = RUNNER_2_GRAPHS_COUNTED_SINCE if second else GRAPHS_COUNTED_SINCE
    return Term(
        name="cuda_graphs",
        gib=gib,
        uncertainty_gib=0.15 + 0.6 * gib,
        inside=setup.engine >= counted,
        cause="CUDA graphs captured for the decode batch sizes",
        formula="0.15 GiB + graphs x layers x 0.12 MiB; twice that with LoRA",
        source="profile_cudagraph_memory of 0.32; logs: 0.1 to 0.9 GiB, three of 1.6 to 2.4",
    )


def measured(gib: float) -> Term:
    """Return the term that an engine's own start log gives instead of the computed terms."""
    return Term(
        name=MEASURED,
        gib=gib,
        uncertainty_gib=0.1,
        cause="the share without weights and KV cache, from the log of an earlier start on this host",
        formula="share - weights - KV cache of that start",
        source="the engine's start log; three starts of one configuration differed by 0.04 GiB",
    )
