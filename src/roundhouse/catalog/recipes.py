"""The recipes of `roundhouse quantize`, each by its name, and the bounds within which its result is admitted.

Data alone: `quantize_work` turns it into llm-compressor's modifiers, `quantize_check` into what a
host must have, `gate` holds a result against the bounds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

# The groups that the engine's kernels know, the largest first: fewer scales, and a little less like the base.
GROUP_SIZES = (128, 64, 32)


class Bounds(NamedTuple):
    """How far a result may be from its base, over the held-out text.

    `kl` is the mean divergence a token in nats, `top1` the share of tokens whose likeliest successor is the same,
    `perplexity` the ratio to the base's. What honest results and garbage have is measured in docs/quantizing.md.
    """

    kl: float
    top1: float
    perplexity: float


class Recipe(NamedTuple):
    """One way to quantize. `group_size` 0: a scale for each row; `samples` 0: no calibration text.

    `form` is what comes out, by its name in formats.WEIGHT_FORMATS.
    """

    about: str
    method: str  # of quantize_work
    scheme: str  # compressed-tensors' preset
    form: str
    bits: int
    group_size: int
    samples: int
    capability: tuple[int, int]  # the oldest card whose kernels compute it
    bounds: Bounds


_EIGHT_BITS = Bounds(kl=0.02, top1=0.95, perplexity=1.02)
_FOUR_BITS = Bounds(kl=0.05, top1=0.90, perplexity=1.05)

RECIPES = {
    "fp8": Recipe(
        "FP8 weights, activations scaled as they come; needs no text and takes seconds",
        *("rtn", "FP8_DYNAMIC", "fp8", 8, 0, 0, (8, 9), _EIGHT_BITS),
    ),
    "int8": Recipe(
        "INT8 weights and activations after SmoothQuant, for cards without FP8",
        *("smooth-gptq", "W8A8", "int8", 8, 0, 256, (7, 5), _EIGHT_BITS),
    ),
    "gptq": Recipe(
        "4-bit weights by GPTQ: a quarter of the size, the card's 16-bit arithmetic",
        *("gptq", "W4A16", "w4a16", 4, 128, 256, (7, 5), _FOUR_BITS),
    ),
    "awq": Recipe(
        "4-bit weights by AWQ, with zero points",
        *("awq", "W4A16_ASYM", "awq", 4, 128, 128, (7, 5), _FOUR_BITS),
    ),
    "auto-round": Recipe(
        "4-bit weights by auto-round: tunes the rounding, slowest",
        *("auto-round", "W4A16", "w4a16", 4, 128, 128, (7, 5), _FOUR_BITS),
    ),
}


def group_size(sizes: Iterable[int], recipe: Recipe) -> int | None:
    """Return the recipe's group size, or the next smaller one that divides all sizes; None where none does."""
    inputs = list(sizes)
    fitting = [group for group in GROUP_SIZES if group <= recipe.group_size]
    return next((group for group in fitting if not any(size % group for size in inputs)), None)
