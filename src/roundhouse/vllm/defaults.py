"""Provide the defaults of the pinned vLLM for options that are left out (server, not offline use)."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

PINNED = "0.32"  # Major and minor; requirements/engine-*.txt has the whole version.
UTILIZATION = 0.92  # config/cache.py:102
# Cards from this size on get larger batches, except the A100, which was slower with them (vllm#17885).
LARGE_CARD_GIB = 70
_HUGE_CARD_GIB = 160
_GRAPH_SIZE_LIMIT = 512


class Batch(NamedTuple):
    """The engine's limits: `max_num_seqs` in requests, `max_num_batched_tokens` in tokens."""

    max_num_seqs: int
    max_num_batched_tokens: int


def batch(
    max_model_len: int,
    *,
    card_gib: float,
    a100: bool = False,
    max_num_seqs: int | None = None,
    max_num_batched_tokens: int | None = None,
) -> Batch:
    """Return the batch limits; values that are given are kept.

    Source: `get_batch_defaults` and `_set_default_max_num_seqs_and_batched_tokens_args` in 0.32's
    engine/arg_utils.py. The defaults, and with them the sampler's buffers, jump at LARGE_CARD_GIB. Without an explicit
    max_num_seqs a 75 GiB card may hold fewer tokens than a 69 GiB card.
    """
    if card_gib >= _HUGE_CARD_GIB:
        seqs, batched = 1024, 16384
    elif card_gib >= LARGE_CARD_GIB and not a100:
        seqs, batched = 1024, 8192
    else:
        seqs, batched = 256, 2048
    if max_num_batched_tokens is None:
        max_num_batched_tokens = min(batched, (max_num_seqs or seqs) * max_model_len)
    return Batch(max_num_seqs or min(seqs, max_num_batched_tokens), max_num_batched_tokens)


@lru_cache
def captured_graphs(max_num_seqs: int) -> int:
    """Return the number of CUDA graphs that the engine captures at start.

    The piecewise set has batch sizes 1, 2, 4, then steps of 8 to 256 and of 16 to 512. It ends at twice max_num_seqs
    (config/vllm.py:2292 of 0.32). The full set has the same sizes up to max_num_seqs: a log of 256 sequences has
    "PIECEWISE=51 (largest=512), FULL=35 (largest=256)" (vllm#39559).
    """
    return _sizes_to(min(2 * max_num_seqs, _GRAPH_SIZE_LIMIT)) + _sizes_to(min(max_num_seqs, _GRAPH_SIZE_LIMIT))


def _sizes_to(largest: int) -> int:
    first = sum(1 for size in (1, 2, 4) if size <= largest)
    return first + min(largest, 256) // 8 + max(0, largest - 256) // 16
