"""Compute the bytes of a model's KV cache and of its weights: on disk, resident on each rank, read for each token.

The resident size is more than the sum of the tensors. For a tensor of 10 MiB or more, PyTorch's caching allocator takes
segments in steps of 2 MiB. It splits off the end of a segment only when more than 1 MiB is left. A shorter end
counts as the tensor's (c10/cuda/CUDACachingAllocator.cpp: kRoundLarge, kMinLargeAlloc, kSmallSize). It never splits
segments of 20 MiB and more during the load of weights (vllm#41268). With both rules, the computed sizes differ from
those of start logs by a few MiB.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from ..catalog.model_families import Architecture
from ..util.units import MIB
from ..vllm.formats import KV_DTYPE_BYTES, Format

# vLLM's block_size on CUDA (config/cache.py); vLLM allocates whole blocks.
BLOCK_TOKENS = 16


def bytes_per_token(architecture: Architecture, kv_cache_dtype: str, tensor_parallel_size: int) -> int:
    """Return the bytes of a token on one rank: a key and a value in each layer.

    A rank has at least one key head, so more ranks than key heads save no memory. The result is within 0.14 % of 30
    logged token counts, which is the rounding of the logs.
    """
    heads = max(1, architecture.num_key_value_heads // tensor_parallel_size)
    return 2 * architecture.num_hidden_layers * heads * architecture.head_dim * KV_DTYPE_BYTES[kv_cache_dtype]


def tokens(kv_bytes: float, token_bytes: int) -> int:
    """Return the number of tokens in `kv_bytes`, in whole blocks (v1/core/kv_cache_utils.py)."""
    return max(0, int(kv_bytes // (BLOCK_TOKENS * token_bytes))) * BLOCK_TOKENS


def needed_bytes(max_model_len: int, token_bytes: int) -> int:
    """Return the bytes of one request of the full length, the minimum with which vLLM starts."""
    return -(-max_model_len // BLOCK_TOKENS) * BLOCK_TOKENS * token_bytes


BYTES_16BIT = 2
_LARGE_BYTES = 10 * MIB
_SEGMENT_BYTES = 2 * MIB
_SMALL_BYTES = 1 * MIB
_NEVER_SPLIT_BYTES = 20 * MIB
# vLLM reads qweight as 32-bit words and pads the vocabulary to 64 (vocab_parallel_embedding.py).
_VOCAB_PADDING = 64


class Weights(NamedTuple):
    """Hold the bytes of one rank; `disk` is the size of the whole checkpoint's tensors.

    `read_per_token` is the number of bytes that one decode step of one sequence reads: without the embedding, and with
    the chosen experts only.
    """

    resident: int
    disk: int
    read_per_token: int


class _Linear(NamedTuple):
    layers: int  # number of layers with it
    inputs: int
    outputs: int
    # Pieces in a checkpoint: q, k and v, or gate and up.
    parts: int = 1
    # Experts in one tensor, and those of them that one token reads.
    stacked: int = 1
    used: int = 1


@lru_cache(maxsize=4096)
def weights(architecture: Architecture, form: Format, tensor_parallel_size: int) -> Weights:
    """Return the bytes of a model; the ranks must divide its heads and its intermediate size.

    The formula has the linear layers in the format, and embeddings, lm_head, norms and biases in 16 bit. It differs by
    0.00 % to 0.09 % from six published checkpoints.
    """
    resident = read = 0
    for linear in _linears(architecture, tensor_parallel_size):
        tensors = _tensors(linear, form)
        resident += linear.layers * sum(_allocated(size) for size in tensors)
        read += linear.layers * sum(tensors) * linear.used // linear.stacked
    disk = sum(linear.layers * _on_disk(linear, form) for linear in _linears(architecture, 1))
    replicated, per_rank, whole = _sixteen_bit(architecture, tensor_parallel_size)
    resident += replicated + per_rank
    read += replicated + per_rank
    disk += whole
    table = embedding_bytes(architecture, tensor_parallel_size)
    copies = 1 if architecture.tie_word_embeddings else 2
    resident += copies * _allocated(table)
    disk += copies * architecture.vocab_size * architecture.hidden_size * BYTES_16BIT
    # RotaryEmbedding's cos and sin; all layers share them (model_executor/layers/rotary_embedding/base.py).
    positions = architecture.max_position_embeddings or 32768
    resident += positions * architecture.head_dim * BYTES_16BIT
    return Weights(resident=resident, disk=disk, read_per_token=read + table)


def _linears(arch: Architecture, ranks: int) -> Iterator[_Linear]:
    heads = arch.num_attention_heads // ranks
    # Fewer key heads than ranks: each rank keeps a copy of one (QKVParallelLinear).
    key_heads = max(1, arch.num_key_value_heads // ranks)
    hidden = arch.hidden_size
    layers = arch.num_hidden_layers
    yield _Linear(layers=layers, inputs=hidden, outputs=(heads + 2 * key_heads) * arch.head_dim, parts=3)
    yield _Linear(layers=layers, inputs=heads * arch.head_dim, outputs=hidden)
    experts = {"stacked": arch.num_experts, "used": arch.num_experts_per_tok}
    blocks: list[tuple[int, int, dict[str, int]]] = [
        (layers - arch.moe_layers, arch.intermediate_size, {}),
        (arch.moe_layers, arch.moe_intermediate_size, experts),
        (arch.moe_layers, arch.shared_expert_intermediate_size, {}),
    ]
    for count, size, held in blocks:
        if count and size:
            yield _Linear(layers=count, inputs=hidden, outputs=2 * size // ranks, parts=2, **held)
            yield _Linear(layers=count, inputs=size // ranks, outputs=hidden, **held)


def _tensors(linear: _Linear, form: Format) -> list[int]:
    """Return the bytes of the weight, the scales and the zero points of one layer."""
    weights_count = linear.stacked * linear.inputs * linear.outputs
    main = weights_count * form.weight_bits // 8
    if form.name == "fp8-block":
        return [main, 4 * weights_count // (form.group_size * form.group_size)]
    groups = linear.stacked * linear.outputs * (linear.inputs // form.group_size if form.group_size else 1)
    sizes = [main, groups * form.scale_bytes]
    # A symmetric GPTQ checkpoint stores zero points; the engine drops them for Marlin's kernel.
    if form.zero_bits and not form.index_bytes:
        sizes.append(groups * form.zero_bits // 8)
    return sizes


def _on_disk(linear: _Linear, form: Format) -> int:
    size = sum(_tensors(linear, form))
    if form.index_bytes:
        groups = linear.stacked * linear.outputs * (linear.inputs // form.group_size if form.group_size else 1)
        size += groups * form.zero_bits // 8
        size += linear.stacked * linear.parts * linear.inputs * form.index_bytes
    return size


def _allocated(size: int) -> int:
    if size < _LARGE_BYTES:
        return size
    end = -size % _SEGMENT_BYTES
    whole = end <= _SMALL_BYTES or size >= _NEVER_SPLIT_BYTES
    return size + end if whole else size


def embedding_bytes(arch: Architecture, ranks: int) -> int:
    """Return the bytes of one rank's part of the embedding table, which has 16 bits in every format."""
    padded = -(-arch.vocab_size // _VOCAB_PADDING) * _VOCAB_PADDING
    return -(-padded // ranks) * arch.hidden_size * BYTES_16BIT


def _sixteen_bit(arch: Architecture, ranks: int) -> tuple[int, int, int]:
    """Return the bytes of norms, biases and routers: replicated per rank, split per rank, in the checkpoint."""
    layers = arch.num_hidden_layers
    norms = (2 * layers + 1) * arch.hidden_size + (2 * arch.head_dim * layers if arch.qk_norm else 0)
    shared_gate = 1 if arch.shared_expert_intermediate_size else 0
    routers = arch.moe_layers * arch.hidden_size * (arch.num_experts + shared_gate)
    heads = arch.num_attention_heads // ranks + 2 * max(1, arch.num_key_value_heads // ranks)
    all_heads = arch.num_attention_heads + 2 * arch.num_key_value_heads
    bias = layers * arch.head_dim if arch.qkv_bias else 0
    whole = norms + routers + bias * all_heads
    return (norms + routers) * BYTES_16BIT, bias * heads * BYTES_16BIT, whole * BYTES_16BIT
