"""Can this host quantise this model by this recipe? Answered from config.json before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from . import recipes, store
from .errors import UsageError
from .progress import GIB
from .recipes import Recipe

MEMINFO = Path("/proc/meminfo")
# Over the weights: the Hessian of the widest layer and a copy to factor it (32 bit), and what Python takes.
_HESSIANS, _PYTHON_GIB = 3, 2.0


class Model(NamedTuple):
    """What is asked of a model's folder."""

    config: dict[str, Any]
    weights_bytes: int


def read(folder: Path) -> Model:
    """Return the model in a folder. Raises UsageError."""
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise UsageError("quantise", f"{folder}/config.json cannot be read ({error}): name a model's folder.") from None
    return Model(config, sum(path.stat().st_size for path in folder.glob("*.safetensors")))


def group_size(folder: Path, recipe: Recipe) -> int:
    """Return the recipe's group size, or a smaller one where only that divides the model's sizes. Raises UsageError."""
    return recipes.group_size(_inputs(read(folder).config).values(), recipe) or recipe.group_size


def problems(model: Model, recipe: Recipe, group_size: int, place: Path) -> list[str]:
    """Return a sentence for each thing that stands in the way; none means go on."""
    found = []
    if model.config.get("quantization_config") or model.config.get("compression_config"):
        found.append("the model is quantised already: name its 16-bit base.")
    found += _indivisible(model.config, group_size) if recipe.group_size else []
    need, free = ram_bytes(model, recipe), available_ram_bytes()
    if free is not None and need > free:
        found.append(
            f"it takes {need / GIB:.1f} GiB of memory and {free / GIB:.1f} GiB are available: use another host."
        )
    need, free = model.weights_bytes, store.free_bytes(place)
    if need > free:
        found.append(f"{place} has {free / GIB:.1f} GiB free and the result may take {need / GIB:.1f}: make room.")
    return found


def _indivisible(config: dict[str, Any], group_size: int) -> list[str]:
    """Return sentences about layers whose input is not a whole number of groups."""
    inputs = _inputs(config)
    odd = {name: size for name, size in inputs.items() if size % group_size}
    smaller = [size for size in recipes.GROUP_SIZES if not any(value % size for value in inputs.values())]
    cure = f"--group-size {smaller[0]}" if smaller else "a recipe of 8 bits"
    return [f"{name} is {size}, no whole number of groups of {group_size}: use {cure}." for name, size in odd.items()]


def _inputs(config: dict[str, Any]) -> dict[str, int]:
    """Return the inputs of the layers that a recipe with groups divides, by config.json's words."""
    heads = config.get("num_attention_heads") or 1
    head_dim = config.get("head_dim") or config.get("hidden_size", 0) // heads
    return {
        "hidden_size": config.get("hidden_size", 0),
        "intermediate_size": config.get("intermediate_size", 0),
        "num_attention_heads * head_dim": heads * head_dim,
    }


def ram_bytes(model: Model, recipe: Recipe) -> int:
    """Return about how much memory the recipe takes without a card: weights, and of GPTQ the widest layer's Hessian."""
    widest = max(model.config.get("intermediate_size") or 0, model.config.get("hidden_size") or 0)
    hessians = _HESSIANS * 4 * widest**2 if "gptq" in recipe.method else 0
    return round(model.weights_bytes * 1.2 + hessians + _PYTHON_GIB * GIB)


def available_ram_bytes() -> int | None:
    """Return what Linux says is available without swapping, None when it does not say."""
    for line in MEMINFO.read_text().splitlines() if MEMINFO.exists() else []:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None
