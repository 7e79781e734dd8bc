"""Provide vLLM's defaults for options that are left out (server, not offline use), by its version and the card."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

Version = tuple[int, int]  # major and minor

PINNED = "0.32"  # Major and minor; requirements/engine-*.txt has the whole version.
PINNED_VERSION: Version = (0, 32)
UTILIZATION = 0.92  # config/cache.py:102
# The V1 engine is the default since 0.8; the one before it had no chunked prefill for short contexts.
V1_SINCE: Version = (0, 8)
_V0_CHUNKED_ABOVE = 32768  # engine/arg_utils.py of 0.5 to 0.7
_TWO_SETS_SINCE: Version = (0, 11)
# Cards from this size on get larger batches, except the A100 since 0.9, which was slower with them (vllm#17885).
LARGE_CARD_GIB = 70
_A100_APART_SINCE: Version = (0, 9)
_HUGE_CARD_GIB = 160
_GRAPH_SIZE_LIMIT = 512
_SMALL = (256, 2048)


class Batch(NamedTuple):
    """The engine's limits: `max_num_seqs` in requests, `max_num_batched_tokens` in tokens."""

    max_num_seqs: int
    max_num_batched_tokens: int


class Hardware(NamedTuple):
    """Hold what vLLM's defaults depend on. `unified`: the card has no memory of its own."""

    card_gib: float
    a100: bool = False
    unified: bool = False


def version(text: str | None) -> Version | None:
    """Return the major and minor of a version such as 0.32.0, 0.10.x or 0.6.5 dev; None for another word."""
    match = re.match(r"v?(\d{1,4})\.(\d{1,4})", text or "")
    return (int(match[1]), int(match[2])) if match else None


def batch(
    max_model_len: int,
    hardware: Hardware,
    *,
    max_num_seqs: int | None = None,
    max_num_batched_tokens: int | None = None,
    engine: Version = PINNED_VERSION,
) -> Batch:
    """Return the batch limits; values that are given are kept.

    Source: `get_batch_defaults` and `_set_default_max_num_seqs_and_batched_tokens_args` in 0.32's
    engine/arg_utils.py. The defaults, and with them the sampler's buffers, jump at LARGE_CARD_GIB. Without an explicit
    max_num_seqs a 75 GiB card may hold fewer tokens than a 69 GiB card.

    A card with unified memory (GB10) gets the small defaults: NVML reports no memory there, and vLLM takes that as 0
    bytes. A start log of a GB10 has max_num_batched_tokens=2048 without the option.
    """
    seqs, batched = _limits(max_model_len, hardware, engine)
    if max_num_batched_tokens is None:
        max_num_batched_tokens = min(batched, (max_num_seqs or seqs) * max_model_len)
    return Batch(max_num_seqs or min(seqs, max_num_batched_tokens), max_num_batched_tokens)


def _limits(max_model_len: int, hardware: Hardware, engine: Version) -> tuple[int, int]:
    if engine < V1_SINCE:
        seqs, batched = _SMALL
        return seqs, batched if max_model_len > _V0_CHUNKED_ABOVE else max(max_model_len, batched)
    if hardware.unified:
        return _SMALL
    if hardware.card_gib >= _HUGE_CARD_GIB:
        return 1024, 16384
    apart = hardware.a100 and engine >= _A100_APART_SINCE
    return (1024, 8192) if hardware.card_gib >= LARGE_CARD_GIB and not apart else _SMALL


@lru_cache
def captured_graphs(max_num_seqs: int, engine: Version = PINNED_VERSION) -> int:
    """Return the number of CUDA graphs that the engine captures at start.

    The piecewise set has batch sizes 1, 2, 4, then steps of 8 to 256 and of 16 to 512. It ends at twice max_num_seqs
    (config/vllm.py:2292 of 0.32). The full set, since 0.11, has the same sizes up to max_num_seqs: a log of 256
    sequences has "PIECEWISE=51 (largest=512), FULL=35 (largest=256)" (vllm#39559).
    """
    if engine < V1_SINCE:
        return _sizes_to(min(max_num_seqs, 256))
    pieces = _sizes_to(min(2 * max_num_seqs, _GRAPH_SIZE_LIMIT))
    return pieces + (_sizes_to(min(max_num_seqs, _GRAPH_SIZE_LIMIT)) if engine >= _TWO_SETS_SINCE else 0)


def _sizes_to(largest: int) -> int:
    first = sum(1 for size in (1, 2, 4) if size <= largest)
    return first + min(largest, 256) // 8 + max(0, largest - 256) // 16
