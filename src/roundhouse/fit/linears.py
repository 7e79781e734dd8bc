"""List the matrices of a model by their role, as vLLM fuses them and divides them between ranks.

The roles are those of `Model.parts`: attention, recurrent, mlp, experts, shared, lm_head, embedding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..catalog.architecture import Architecture, Latent, Recurrent


class Linear(NamedTuple):
    """Hold the matrices of one kind on one rank: `layers` of them, each `stacked` times for experts.

    `used` of the stacked ones are read for a token. A checkpoint has `parts` of it.
    """

    role: str
    layers: int
    inputs: int
    outputs: int
    parts: int = 1
    stacked: int = 1
    used: int = 1


def linears(arch: Architecture, ranks: int, *, stored: bool = False) -> Iterator[Linear]:
    """Yield the matrices of all layers on one of `ranks`, or of the checkpoint with `stored`.

    A checkpoint has keys that are also values once, and vLLM loads them into both places (models/gemma4.py).
    """
    yield from _attention(arch, ranks, stored)
    if arch.recurrent:
        yield from _recurrent(arch, arch.recurrent, ranks)
    experts = {"stacked": arch.num_experts, "used": arch.num_experts_per_tok}
    blocks: list[tuple[str, int, int, dict[str, int]]] = [
        ("mlp", arch.plain_layers, arch.intermediate_size, {}),
        ("experts", arch.moe_layers, arch.moe_intermediate_size, experts),
        ("shared", arch.moe_layers, arch.shared_expert_intermediate_size, {}),
    ]
    up = 2 if arch.gated else 1
    for role, layers, size, held in blocks:
        if layers and size:
            yield Linear(role, layers, arch.hidden_size, up * size // ranks, parts=up, **held)
            yield Linear(role, layers, size // ranks, arch.hidden_size, **held)


def _attention(arch: Architecture, ranks: int, stored: bool) -> Iterator[Linear]:
    if arch.latent:
        yield from _latent(arch, arch.latent, ranks)
        return
    heads, layers = arch.num_attention_heads // ranks, arch.mixing_layers
    key_heads = _keys(arch.num_key_value_heads, ranks)
    if arch.window:
        full = layers - arch.window.layers
        own = _keys(arch.window.full_key_heads, ranks)
        reused = full - arch.window.cached_full_layers
        both = own if stored and arch.window.shared_keys else 2 * own
        yield from _plain(arch, full - reused, heads, both, arch.window.full_head_dim)
        yield from _plain(arch, reused, heads, 0, arch.window.full_head_dim)
        layers, reused = arch.window.layers, arch.window.layers - arch.window.cached_layers
        yield from _plain(arch, reused, heads, 0, arch.head_dim)
        layers -= reused
    yield from _plain(arch, layers, heads, 2 * key_heads, arch.head_dim)


def _keys(heads: int, ranks: int) -> int:
    """Return the key heads of a rank. With fewer heads than ranks each rank keeps a copy (QKVParallelLinear)."""
    return max(1, heads // ranks)


def _plain(arch: Architecture, layers: int, heads: int, keys: int, head_dim: int) -> Iterator[Linear]:
    """Yield the matrices of attention with `keys` heads of keys and values."""
    if layers:
        queries = heads * (2 if arch.query_gate else 1)
        yield Linear("attention", layers, arch.hidden_size, (queries + keys) * head_dim, parts=3)
        yield Linear("attention", layers, heads * head_dim, arch.hidden_size)


def _latent(arch: Architecture, sizes: Latent, ranks: int) -> Iterator[Linear]:
    """Yield MLA's matrices; each rank has the compressing ones whole (vLLM 0.32, deepseek_v2.py)."""
    heads, layers, hidden = arch.num_attention_heads // ranks, arch.mixing_layers, arch.hidden_size
    queries = heads * (sizes.nope_dim + sizes.rope_dim)
    compressed = sizes.kv_rank + sizes.rope_dim
    if sizes.query_rank:
        yield Linear("attention", layers, hidden, sizes.query_rank + compressed, parts=2)
        yield Linear("attention", layers, sizes.query_rank, queries)
    else:
        yield Linear("attention", layers, hidden, queries)
        yield Linear("attention", layers, hidden, compressed)
    yield Linear("attention", layers, sizes.kv_rank, heads * (sizes.nope_dim + sizes.value_dim))
    yield Linear("attention", layers, heads * sizes.value_dim, hidden)


def _recurrent(arch: Architecture, states: Recurrent, ranks: int) -> Iterator[Linear]:
    """Yield the projections of Gated DeltaNet (in_proj_qkvz) or of Mamba 2 (in_proj)."""
    keys, values = states.key_heads * states.key_dim, states.value_heads * states.value_dim
    inward = 2 * keys + 2 * values + (states.value_heads if states.mamba else 0)
    yield Linear("recurrent", states.layers, arch.hidden_size, inward // ranks, parts=2)
    yield Linear("recurrent", states.layers, values // ranks, arch.hidden_size)


def sixteen_bit(arch: Architecture, ranks: int) -> tuple[int, int]:
    """Return the counts of numbers that have 16 bits in every format: on each rank whole, and on a rank its part."""
    layers, mixing = arch.num_hidden_layers, arch.mixing_layers
    norms = (2 * layers + 1) * arch.hidden_size + (2 * arch.head_dim * mixing if arch.qk_norm else 0)
    gate = 1 if arch.shared_expert_intermediate_size and arch.shared_expert_gate else 0
    whole = norms + arch.moe_layers * arch.hidden_size * (arch.num_experts + gate)
    heads = arch.num_attention_heads // ranks + 2 * _keys(arch.num_key_value_heads, ranks)
    mine = mixing * arch.head_dim * heads if arch.qkv_bias else 0
    if arch.output_bias:
        # gpt-oss: biases of the output and of all experts, and a sink for each head.
        whole += mixing * arch.hidden_size + arch.moe_layers * arch.num_experts * arch.hidden_size
        mine += arch.moe_layers * arch.num_experts * 2 * arch.moe_intermediate_size // ranks
    if arch.layer_embedding:
        # Each layer has a gate and a projection of its own embedding, and one matrix projects the model's embedding.
        whole += 3 * layers * arch.layer_embedding * arch.hidden_size
    if arch.window and arch.window.shared_keys:
        whole += 2 * layers * arch.hidden_size  # norms behind attention and block
    if arch.recurrent:
        mine += _states(arch, arch.recurrent) // ranks
    if arch.latent:
        whole += mixing * (arch.latent.query_rank + arch.latent.kv_rank)
    return whole, mine


def absorbed(arch: Architecture, ranks: int) -> int:
    """Return the count of 16-bit numbers that MLA keeps a second time: kv_b_proj, divided for the absorbed product.

    Source: vLLM 0.32, model_executor/layers/attention/mla_attention.py, process_weights_after_loading (W_UK_T, W_UV).
    """
    if arch.latent is None:
        return 0
    heads = arch.num_attention_heads // ranks
    return arch.mixing_layers * heads * arch.latent.kv_rank * (arch.latent.nope_dim + arch.latent.value_dim)


def _states(arch: Architecture, states: Recurrent) -> int:
    """Return the numbers of the recurrent layers beside their projections: convolution, decay, gates."""
    keys, values = states.key_heads * states.key_dim, states.value_heads * states.value_dim
    convolution = (2 * keys + values) * (states.conv_kernel + (1 if states.mamba else 0))
    gates = 0 if states.mamba else 2 * states.value_heads * arch.hidden_size
    return states.layers * (convolution + gates + 6 * states.value_heads + values)
