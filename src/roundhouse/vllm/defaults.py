"""What vLLM takes when an option is left out, by its version and the card. For a server, not offline use."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from ..errors import UsageError

Version = tuple[int, int]

PINNED: Version = (0, 32)
# The V1 engine is the default since 0.8; the one before it had no chunked prefill for short contexts.
V1_SINCE: Version = (0, 8)
UTILIZATION = 0.92  # config/cache.py:102 of 0.32; older engines had 0.90
# Cards from here on get more at once, but an A100 since 0.9 (vllm#17885: it was slower with more).
LARGE_CARD_GIB = 70
_A100_APART_SINCE: Version = (0, 9)
_SMALL_TOKENS = 2048
_V0_CHUNKED_ABOVE = 32768  # engine/arg_utils.py of 0.5 to 0.7
_SEQS = 256
_GRAPH_SIZE_LIMIT = 512


class Batch(NamedTuple):
    """`max_num_seqs` and `max_num_batched_tokens` as the engine would run."""

    max_num_seqs: int
    max_num_batched_tokens: int


class Wanted(NamedTuple):
    """The same as asked for, None for the engine's default."""

    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None


def version(text: str) -> Version:
    """Return (major, minor) of a version such as 0.32.0, 0.10.x or 0.6.5 dev; UsageError for another word."""
    match = re.match(r"v?(\d+)\.(\d+)", text)
    if not match:
        raise UsageError("usage", f"--vllm-version is {text!r}: write a version such as 0.32.0.")
    return int(match[1]), int(match[2])


def batch(engine: Version, card_gib: float, a100: bool, max_model_len: int, wanted: Wanted) -> Batch:
    """Return the batch limits, those that are given unchanged.

    Source: `get_batch_defaults` and `_set_default_max_num_seqs_and_batched_tokens_args` in 0.32's
    engine/arg_utils.py. At LARGE_CARD_GIB the defaults jump, and with them the sampler's buffers: a 75 GiB
    card may hold fewer tokens than one of 69 until max_num_seqs is written down.
    """
    if engine < V1_SINCE:
        long = max_model_len > _V0_CHUNKED_ABOVE
        seqs, batched = _SEQS, _SMALL_TOKENS if long else max(max_model_len, _SMALL_TOKENS)
    elif card_gib >= 160:
        seqs, batched = 1024, 16384
    elif card_gib >= LARGE_CARD_GIB and not (a100 and engine >= _A100_APART_SINCE):
        seqs, batched = 1024, 8192
    else:
        seqs, batched = _SEQS, _SMALL_TOKENS
    if wanted.max_num_batched_tokens is not None:
        batched = wanted.max_num_batched_tokens
    else:
        batched = min(batched, (wanted.max_num_seqs or seqs) * max_model_len)
    return Batch(wanted.max_num_seqs or min(seqs, batched), batched)


@lru_cache
def captured_graphs(engine: Version, max_num_seqs: int) -> int:
    """Return how many CUDA graphs are captured at start.

    Batch sizes 1, 2, 4, then in steps of 8 to 256 and of 16 to 512, no further than twice max_num_seqs
    (config/vllm.py:2292 of 0.32). Since 0.11 a second set, whole instead of piecewise, up to max_num_seqs:
    a log of 256 sequences says "PIECEWISE=51 (largest=512), FULL=35 (largest=256)" (vllm#39559).
    """
    if engine < V1_SINCE:
        return _sizes_to(min(max_num_seqs, 256))
    pieces = _sizes_to(min(2 * max_num_seqs, _GRAPH_SIZE_LIMIT))
    return pieces + (_sizes_to(min(max_num_seqs, _GRAPH_SIZE_LIMIT)) if engine >= (0, 11) else 0)


def _sizes_to(largest: int) -> int:
    first = sum(1 for size in (1, 2, 4) if size <= largest)
    return first + min(largest, 256) // 8 + max(0, largest - 256) // 16
