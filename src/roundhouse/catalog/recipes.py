"""List the recipes of `roundhouse quantize` by name, and the bounds within which a result is accepted.

Data alone: quantize/worker.py turns it into llm-compressor's modifiers, quantize/requirements.py into what a
host must have, and quantize/quality.py holds a result against the bounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

# The groups that the engine's kernels know, the largest first: fewer scales, and a little less like the base.
GROUP_SIZES = (128, 64, 32)


class Bounds(NamedTuple):
    """How far a result may be from its base, over the held-out text.

    `kl` is the mean divergence a token in nats, `top1` the share of tokens whose likeliest successor is the same,
    `perplexity` the ratio to the base's. docs/explanation/quality-gate.md has measured values.
    """

    kl: float
    top1: float
    perplexity: float


class Recipe(NamedTuple):
    """One way to quantize. `group_size` 0: a scale for each row; `samples` 0: no calibration text.

    `form` is what comes out, by its name in formats.WEIGHT_FORMATS.
    """

    about: str
    method: str  # of quantize/worker.py
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
        about="FP8 weights, activations scaled as they come; needs no text and takes seconds",
        method="rtn",
        scheme="FP8_DYNAMIC",
        form="fp8",
        bits=8,
        group_size=0,
        samples=0,
        capability=(8, 9),
        bounds=_EIGHT_BITS,
    ),
    "int8": Recipe(
        about="INT8 weights and activations after SmoothQuant, for cards without FP8",
        method="smooth-gptq",
        scheme="W8A8",
        form="int8",
        bits=8,
        group_size=0,
        samples=256,
        capability=(7, 5),
        bounds=_EIGHT_BITS,
    ),
    "gptq": Recipe(
        about="4-bit weights by GPTQ: a quarter of the size, the card's 16-bit arithmetic",
        method="gptq",
        scheme="W4A16",
        form="w4a16",
        bits=4,
        group_size=128,
        samples=256,
        capability=(7, 5),
        bounds=_FOUR_BITS,
    ),
    "awq": Recipe(
        about="4-bit weights by AWQ, with zero points",
        method="awq",
        scheme="W4A16_ASYM",
        form="awq",
        bits=4,
        group_size=128,
        samples=128,
        capability=(7, 5),
        bounds=_FOUR_BITS,
    ),
    "auto-round": Recipe(
        about="4-bit weights by auto-round: tunes the rounding, slowest",
        method="auto-round",
        scheme="W4A16",
        form="w4a16",
        bits=4,
        group_size=128,
        samples=128,
        capability=(7, 5),
        bounds=_FOUR_BITS,
    ),
}


def group_inputs(sizes: Mapping[str, Any]) -> dict[str, int]:
    """Return the inputs of the layers that a recipe with groups divides; `sizes` by their names in config.json."""
    heads = sizes.get("num_attention_heads") or 1
    found = {
        "hidden_size": sizes.get("hidden_size"),
        "intermediate_size": sizes.get("intermediate_size"),
        "num_attention_heads * head_dim": heads * (sizes.get("head_dim") or (sizes.get("hidden_size") or 0) // heads),
        "moe_intermediate_size": sizes.get("moe_intermediate_size"),
    }
    return {name: size for name, size in found.items() if size}


def group_size(sizes: Mapping[str, Any], recipe: Recipe) -> int | None:
    """Return the recipe's group size, or the next smaller one that divides a model's sizes; None where none does."""
    inputs = group_inputs(sizes).values()
    fitting = [group for group in GROUP_SIZES if group <= recipe.group_size]
    return next((group for group in fitting if not any(size % group for size in inputs)), None)
