"""List the recipes of `roundhouse quantize` by name, and the bounds for an accepted result.

The module is data. quantize/worker.py converts it to llm-compressor's modifiers, and quantize/requirements.py to the
requirements of a host. quantize/quality.py compares a result with the bounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

# Group sizes of the engine's kernels, the largest first: fewer scales, and slightly lower quality.
GROUP_SIZES = (128, 64, 32)


class Bounds(NamedTuple):
    """Limit the difference between a result and its base, over the held-out text.

    `kl` is the mean divergence per token in nats. `top1` is the share of tokens with the same most likely successor.
    `perplexity` is the ratio to the base's. docs/explanation/quality-gate.md has measured values.
    """

    kl: float
    top1: float
    perplexity: float


class Recipe(NamedTuple):
    """Hold one way to quantize. `group_size` 0: a scale for each row; `samples` 0: no calibration text.

    `form` is the format of the result, by its name in formats.WEIGHT_FORMATS.
    """

    about: str
    method: str  # of quantize/worker.py
    scheme: str  # compressed-tensors' preset
    form: str
    bits: int
    group_size: int
    samples: int
    capability: tuple[int, int]  # of the oldest card with kernels for it
    bounds: Bounds


_EIGHT_BITS = Bounds(kl=0.02, top1=0.95, perplexity=1.02)
_FOUR_BITS = Bounds(kl=0.05, top1=0.90, perplexity=1.05)

RECIPES = {
    "fp8": Recipe(
        about="FP8 weights, activations scaled at run time; needs no calibration text, takes seconds",
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
        about="4-bit weights by GPTQ: a quarter of the size, computed in 16 bits",
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
        about="4-bit weights by auto-round: tunes the rounding; the slowest recipe",
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
    """Return the input sizes that a recipe with groups has to divide; `sizes` by their names in config.json."""
    heads = sizes.get("num_attention_heads") or 1
    found = {
        "hidden_size": sizes.get("hidden_size"),
        "intermediate_size": sizes.get("intermediate_size"),
        "num_attention_heads * head_dim": heads * (sizes.get("head_dim") or (sizes.get("hidden_size") or 0) // heads),
        "moe_intermediate_size": sizes.get("moe_intermediate_size"),
    }
    return {name: size for name, size in found.items() if size}


def group_size(sizes: Mapping[str, Any], recipe: Recipe) -> int | None:
    """Return the largest group size, up to the recipe's, that divides a model's sizes; None without one."""
    inputs = group_inputs(sizes).values()
    fitting = [group for group in GROUP_SIZES if group <= recipe.group_size]
    return next((group for group in fitting if not any(size % group for size in inputs)), None)
