"""What a running engine takes besides weights and KV cache, each as a term with its cause.

vLLM measures these when it starts (v1/worker/gpu_worker.py, utils/mem_utils.py) and gives the KV cache
the rest of its share of the card. Logs show from 0.4 to 2.9 GiB, so one constant is not enough: the
terms follow their drivers. Each has an uncertainty, the half-width in which most logs lie; the causes
are independent, so the uncertainties add in quadrature.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ..catalog.models import Architecture
from ..vllm.defaults import V1_SINCE, Batch, Version, captured_graphs
from ..vllm.formats import Format
from . import overhead_terms
from .overhead_terms import Term
from .sizes import BYTES_16BIT, GIB, MIB, embedding_bytes

# Sorting the vocabulary (torch.sort) needs 38.5 bytes a logit at its peak: 1.40 GiB at 256 x 151936, 0.94 at
# 256 x 100352, 1.26 at 256 x 128256 (start logs c17, c19, c05). The Triton sampler of vllm#33538 (0.17) sorts
# nothing: logits in 16 and 32 bit, probabilities and noise, and one row a program ("around 80 MiB" there).
TRITON_SAMPLER_SINCE: Version = (0, 17)
_SORT_BYTES = 38.5
_TRITON_BYTES = 14
_TRITON_ROWS = 128
_TRITON_ROW_BYTES = 4
# The second model runner samples its dummy batch without top-k and top-p, so only 16-bit logits count, but it
# keeps 4 1/8 bytes a logit for penalties (v1/worker/gpu/sample/penalties.py), and real sampling comes on top of
# the share. Default for dense models since 0.25 (vllm#44443), for all since 0.29.
_RUNNER_2_SINCE: Version = (0, 25)
_RUNNER_2_EXPERTS_SINCE: Version = (0, 29)
_PENALTY_BYTES = 4.125
_BURST_BYTES = 10
GRAPHS_COUNTED_SINCE: Version = (0, 21)
# A log of 0.28 on a 31.36 GiB card states one forward pass for its peak and nothing for graphs, and takes 0.8 GiB.
_RUNNER_2_GRAPHS_COUNTED_SINCE: Version = (0, 29)
# Start logs of 0.19 to 0.27: 5 graphs 0.13 GiB, 15 graphs 0.22 (64 layers both), 86 graphs 0.52 (36 layers) and
# 0.53 (28); but 9 graphs 0.35, and 86 graphs 1.6 to 2.4 three times. Each graph holds a launch for every piece
# of each layer; what the others hold is not known.
_GRAPH_BASE_GIB = 0.15
_GRAPH_LAYER_GIB = 0.12 * MIB / GIB
_UNNAMED_GIB = 0.25
# PyTorch 2.10 came with 0.17, and its libraries take a little more.
_TORCH_2_10_SINCE: Version = (0, 17)
# Inductor fuses kernels side by side and tries each fusion (vllm#26682, in 0.11.1): on random copies of all inputs,
# one of them the embedding table. A start that compiles has that as its peak: 1.46 GiB for a table of 1.45 (0.28, two
# models), 0.67 for one of 0.58 (0.29), and 0.42, 0.22 and 0.33 in other logs. A start that finds the compiled code has
# not. Since 0.28 a start that compiles also keeps about as much until it ends: 1.42 and 1.38 GiB, and 0.53.
# On an H100 0.32 without the trials had peaks of 1.07 (7B) and 1.54 GiB (14B) for tables of 1.02 and 1.45, by the
# tuning while it compiles; without that as well 0.41 and 0.32 (tests/fixtures/starts/h100.json, by benchmarks/fit.py).
_COMBO_KERNELS_SINCE: Version = (0, 12)
_COMPILED_REMAINS_SINCE: Version = (0, 28)


class Setup(NamedTuple):
    """How the engine runs, as far as its overhead depends on it."""

    engine: Version
    batch: Batch
    ranks: int
    eager: bool
    flashinfer: bool  # it computes the attention (attention.py)
    shared_display: bool
    # Whether the engine compiles and tries its kernels at this start; None when that is not known.
    tries_kernels: bool | None


def terms(architecture: Architecture, form: Format, largest_linear: int, setup: Setup) -> list[Term]:
    """Return the terms that apply, none of them zero. `largest_linear` is a count of weights."""
    peak = _activations(architecture, form, largest_linear, setup)
    found = [peak, _non_torch(setup.engine), *_compilation(architecture, peak.gib, setup)]
    if _runner_2(architecture, setup.engine):
        logits_gib = setup.batch.max_num_seqs * architecture.vocab_size / GIB
        state, burst = logits_gib * _PENALTY_BYTES, logits_gib * _BURST_BYTES
        found.append(Term("sampler_state", state, 0.05 * state, True, *overhead_terms.PENALTY_WORDS))
        found.append(Term(overhead_terms.SAMPLING, burst, 0.4 * burst, False, *overhead_terms.BURST_WORDS))
    if setup.ranks > 1:
        found += overhead_terms.NCCL_V0 if setup.engine < V1_SINCE else overhead_terms.NCCL
    if setup.flashinfer:
        found.append(overhead_terms.FLASHINFER)
    if not setup.eager:
        found.append(_graphs(architecture, setup.batch, setup.engine))
    if setup.shared_display:
        found += overhead_terms.DISPLAY
    if setup.engine >= V1_SINCE:
        found.append(overhead_terms.CONTEXT)
    return found


def uncertainty(found: list[Term], inside: bool) -> float:
    """Return the half-width of the sum of the terms inside or outside the budget, in GiB.

    Inside, _UNNAMED_GIB is added for what no term names: the weights' last half percent, an odd library. A
    measurement has named it all.
    """
    unnamed = _UNNAMED_GIB if inside and all(term.name != overhead_terms.MEASURED for term in found) else 0.0
    return math.sqrt(unnamed**2 + sum(term.uncertainty_gib**2 for term in found if term.inside is inside))


def forward_gib(arch: Architecture, form: Format, largest_linear: int, setup: Setup) -> float:
    """Return the peak of a forward pass: residual, hidden state, and one layer's widest tensors.

    In the dense block the fused gate and up, and their product; with experts, each token's copies for the
    experts it chose (fused_experts' workspaces). A 4-bit bitsandbytes layer is unpacked before it is used.
    """
    ranks, experts = setup.ranks, arch.num_experts_per_tok
    dense = 3 * arch.intermediate_size // ranks if arch.moe_layers < arch.num_hidden_layers else 0
    attention = (2 * arch.num_attention_heads + 2 * arch.num_key_value_heads) // ranks * arch.head_dim
    expert = arch.moe_intermediate_size // ranks
    routed = experts * (max(2 * expert, arch.hidden_size) + expert)
    tokens = setup.batch.max_num_batched_tokens
    unpacked = largest_linear if form.name == "bnb4" else 0
    # Without torch.compile two more copies of the hidden state live on: 2.02 GiB for 32768 tokens of the 1.5B.
    copies = 4 if setup.engine < V1_SINCE else 2
    width = copies * arch.hidden_size + max(dense, attention, routed)
    return (tokens * width + unpacked) * BYTES_16BIT / GIB


def sampler_gib(architecture: Architecture, max_num_seqs: int, engine: Version) -> tuple[float, str]:
    """Return what sampling the largest batch takes while vLLM measures, and the bytes of a logit in words."""
    logits = max_num_seqs * architecture.vocab_size
    if _runner_2(architecture, engine):
        return logits * BYTES_16BIT / GIB, "2"
    if engine < TRITON_SAMPLER_SINCE:
        return logits * _SORT_BYTES / GIB, "38.5"
    rows = _TRITON_ROWS * architecture.vocab_size * _TRITON_ROW_BYTES
    return (logits * _TRITON_BYTES + rows) / GIB, "14"


def _runner_2(architecture: Architecture, engine: Version) -> bool:
    return engine >= (_RUNNER_2_EXPERTS_SINCE if architecture.moe_layers else _RUNNER_2_SINCE)


def _activations(arch: Architecture, form: Format, largest_linear: int, setup: Setup) -> Term:
    forward = forward_gib(arch, form, largest_linear, setup)
    hidden = setup.batch.max_num_batched_tokens * arch.hidden_size * BYTES_16BIT / GIB
    logits, each = sampler_gib(arch, setup.batch.max_num_seqs, setup.engine)
    sampler = hidden + logits
    # The dummy run frees the layers' tensors before it samples, so the higher of the two counts.
    if forward > sampler:
        return Term("activation_peak", forward, 0.1 + 0.15 * forward, True, *overhead_terms.FORWARD_WORDS)
    return Term("activation_peak", sampler, 0.1 + 0.1 * sampler, True, *overhead_terms.SAMPLER_WORDS[each])


def _non_torch(engine: Version) -> Term:
    old = engine < _TORCH_2_10_SINCE
    return Term("non_torch", *((0.1, 0.12) if old else (0.2, 0.15)), True, *overhead_terms.NON_TORCH_WORDS)


def _compilation(arch: Architecture, peak_gib: float, setup: Setup) -> list[Term]:
    if setup.eager or setup.engine < _COMBO_KERNELS_SINCE or setup.tries_kernels is False:
        return []
    table = embedding_bytes(arch, setup.ranks) / GIB
    more = max(0.0, table - peak_gib) + (table if setup.engine >= _COMPILED_REMAINS_SINCE else 0.0)
    # Where it is not known whether the start compiles, both are possible and neither is likelier.
    gib, unsure = (more, 0.1 + 0.15 * more) if setup.tries_kernels else (more / 2, more / 2)
    return [Term("first_compilation", gib, unsure, True, *overhead_terms.COMPILATION_WORDS)] if more else []


def _graphs(arch: Architecture, batch: Batch, engine: Version) -> Term:
    count = captured_graphs(engine, batch.max_num_seqs)
    gib = _GRAPH_BASE_GIB + count * arch.num_hidden_layers * _GRAPH_LAYER_GIB
    counted = _RUNNER_2_GRAPHS_COUNTED_SINCE if _runner_2(arch, engine) else GRAPHS_COUNTED_SINCE
    return Term("cuda_graphs", gib, 0.15 + 0.6 * gib, engine >= counted, *overhead_terms.GRAPH_WORDS)
