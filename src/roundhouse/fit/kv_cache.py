"""Compute the KV cache as vLLM allocates it: groups of layers that share blocks, and what one request needs.

vLLM puts layers of one kind into groups of equal size, and all groups take their blocks from one pool
(v1/core/kv_cache_utils.py of 0.32: _get_kv_cache_groups_uniform_page_size, get_max_concurrency_for_kv_cache_config). A
plain model has one group. A hybrid one has a group of attention and several of states. A block of the attention is
enlarged until its page holds a state (platforms/interface.py: _align_hybrid_block_size).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ..catalog.architecture import Architecture, Recurrent
from ..vllm.formats import KV_DTYPE_BYTES

# vLLM's block_size on CUDA (config/cache.py); vLLM allocates whole blocks.
BLOCK_TOKENS = 16
# Groups have the smallest number of layers, but the largest if it is less than this multiple of the smallest.
_NEARLY_EQUAL = 1.5
# A block of MLA beside states is a multiple of this.
_LATENT_BLOCK = 128


class Settings(NamedTuple):
    """Hold the options of an engine that determine its KV cache.

    `in_flight_tokens` are those that vLLM schedules before it frees the blocks that left a window. `drafts` is
    num_speculative_tokens. `shared_prefixes`: prefix caching is on, so a state is kept at the end of a block too.
    """

    dtype: str = "auto"
    ranks: int = 1
    in_flight_tokens: int = 2048
    drafts: int = 0
    shared_prefixes: bool = True
    block_tokens: int = BLOCK_TOKENS
    grouped_tokens: bool = True  # a token count by requests, as vLLM states it since 0.11; before: by blocks


class Pool(NamedTuple):
    """Hold the blocks of an engine: the bytes of one in all layers of a group, and its tokens of full attention.

    `full_groups` groups grow with a request, `window_groups` up to `window_blocks`, and `state_groups` hold
    `state_blocks` each.
    """

    block_bytes: int
    block_tokens: int
    full_groups: int
    window_groups: int = 0
    window_tokens: int = 0
    window_block_tokens: int = BLOCK_TOKENS
    state_groups: int = 0
    state_blocks: int = 0

    @property
    def plain(self) -> bool:
        """Return whether all layers grow with a request alike."""
        return self.full_groups == 1 and not self.window_groups and not self.state_groups

    def blocks(self, tokens: int) -> int:
        """Return the blocks of one request of `tokens`."""
        count = self.full_groups * -(-tokens // self.block_tokens)
        if self.window_groups:
            held = min(self.window_tokens, tokens)
            count += self.window_groups * (-(-held // self.window_block_tokens) + 1)
        return count + self.state_groups * self.state_blocks

    def needed(self, tokens: int) -> int:
        """Return the bytes of one request of `tokens`, the minimum with which vLLM starts."""
        return self.blocks(tokens) * self.block_bytes

    def tokens(self, kv_bytes: float, max_model_len: int) -> int:
        """Return the tokens that vLLM states for a KV cache: requests of max_model_len x that length."""
        held = max(0, int(kv_bytes // self.block_bytes))
        if self.plain:
            return held * self.block_tokens
        return held * max_model_len // max(1, self.blocks(max_model_len))

    def blockwise(self, kv_bytes: float) -> int:
        """Return the tokens as vLLM stated them before 0.11: the blocks of a group x its tokens."""
        groups = self.full_groups + self.window_groups + self.state_groups
        return max(0, int(kv_bytes // self.block_bytes)) // groups * self.block_tokens

    def longest(self, kv_bytes: float, limit: int) -> int:
        """Return the longest request that a KV cache holds, at most `limit`."""
        if self.plain:
            return min(limit, int(kv_bytes // self.block_bytes) * self.block_tokens)
        held, refused = 0, limit + 1
        while refused - held > 1:
            middle = (held + refused) // 2
            held, refused = (middle, refused) if self.needed(middle) <= kv_bytes else (held, middle)
        return held


def bytes_per_token(architecture: Architecture, kv_cache_dtype: str, tensor_parallel_size: int) -> int:
    """Return the bytes of a further token of a long request on one rank: a key and a value in each full layer.

    A rank has at least one key head, so more ranks than key heads save no memory. MLA's latent vector is whole on each
    rank. The result is within 0.14 % of 30 logged token counts, which is the rounding of the logs.
    """
    layers = architecture.mixing_layers
    if architecture.window:
        layers = architecture.window.cached_full_layers
    return layers * _page(architecture, kv_cache_dtype, tensor_parallel_size, full=True)


def state_bytes(states: Recurrent, ranks: int, drafts: int = 0) -> int:
    """Return the bytes of one layer's state of one sequence on one rank.

    The convolution keeps its last inputs, and one more for each drafted token (layers/mamba/mamba_utils.py:
    gated_delta_net_state_shape and mamba2_state_shape).
    """
    groups = states.key_heads
    if states.mamba and groups % ranks:
        groups = ranks  # extra_groups_for_head_shards
    width = 2 * groups * states.key_dim + states.value_heads * states.value_dim
    convolution = width // ranks * (states.conv_kernel - 1 + drafts) * 2
    return states.value_heads // ranks * states.value_dim * states.key_dim * states.state_bytes + convolution


@lru_cache(maxsize=4096)
def pool(architecture: Architecture, settings: Settings) -> Pool:
    """Return the pool of an engine's blocks."""
    full_page = _page(architecture, settings.dtype, settings.ranks, full=True)
    if architecture.recurrent and architecture.mixing_layers:
        return _with_states(architecture, architecture.recurrent, settings, full_page)
    if architecture.window:
        return _with_window(architecture, settings, full_page)
    layers = architecture.mixing_layers
    return Pool(max(1, layers * settings.block_tokens * full_page), settings.block_tokens, 1)


def with_draft(main: Pool, draft: Pool) -> Pool:
    """Return the pool of a plain model and its plain draft model, whose layers form one group."""
    return main._replace(block_bytes=main.block_bytes + draft.block_bytes)


def _page(architecture: Architecture, dtype: str, ranks: int, *, full: bool) -> int:
    """Return the bytes of a token in one layer of one rank."""
    size = KV_DTYPE_BYTES[dtype]
    if architecture.latent:
        return (architecture.latent.kv_rank + architecture.latent.rope_dim) * size
    heads, head_dim = architecture.num_key_value_heads, architecture.head_dim
    if architecture.window and full:
        heads, head_dim = architecture.window.full_key_heads, architecture.window.full_head_dim
    return 2 * max(1, heads // ranks) * head_dim * size


def _split(*layers: int) -> tuple[int, tuple[int, ...]]:
    """Return the layers of a group, and the number of groups of each kind."""
    smallest, largest = min(layers), max(layers)
    size = largest if largest < smallest * _NEARLY_EQUAL else smallest
    return size, tuple(-(-each // size) for each in layers)


def _with_states(architecture: Architecture, states: Recurrent, settings: Settings, full_page: int) -> Pool:
    state = state_bytes(states, settings.ranks, settings.drafts)
    step = max(settings.block_tokens, _LATENT_BLOCK if architecture.latent else 1)
    block = max(step, step * -(-state // (step * full_page)))
    size, (full, groups) = _split(architecture.mixing_layers, states.layers)
    return Pool(
        block_bytes=max(size * block * full_page, 1),
        block_tokens=block,
        full_groups=full,
        state_groups=groups,
        state_blocks=(2 if settings.shared_prefixes else 1) + settings.drafts,
    )


def _with_window(architecture: Architecture, settings: Settings, full_page: int) -> Pool:
    window = architecture.window
    if window is None or not window.cached_layers or not window.cached_full_layers:
        return Pool(max(1, architecture.mixing_layers * settings.block_tokens * full_page), settings.block_tokens, 1)
    page = _page(architecture, settings.dtype, settings.ranks, full=False)
    # Pages get one size: the smaller page's block has more tokens (unify_kv_cache_spec_page_size).
    largest = max(page, full_page)
    size, (full, groups) = _split(window.cached_full_layers, window.cached_layers)
    return Pool(
        block_bytes=size * settings.block_tokens * largest,
        block_tokens=settings.block_tokens * (largest // full_page),
        full_groups=full,
        window_groups=groups,
        window_tokens=window.tokens - 1 + settings.in_flight_tokens,
        window_block_tokens=settings.block_tokens * (largest // page),
    )
