"""What a recipe needs of a model and a host, checked from config.json before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..catalog import recipes
from ..catalog.recipes import Recipe
from ..errors import UsageError
from ..models import store
from ..util.units import GIB
from .scorer import CARD_SHARE, WINDOW_TOKENS

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.cards import Card
    from roundhouse.schema.facts import ModelConfig

MEMINFO = Path("/proc/meminfo")
# Over the weights: the Hessian of the widest layer and a copy to factor it (32 bit), and what Python takes.
_HESSIANS, _PYTHON_GIB = 3, 2.0
# Of a card: its context and the activations of a text, an upper bound that was not measured.
_ON_CARD_GIB = 2.0
# Fewer tokens say nothing of a model; what is judged by fewer is chance.
FEWEST = {"calibrate with": 512, "judge by": 4 * WINDOW_TOKENS}


class Model(NamedTuple):
    """What is read of a model's folder."""

    config: ModelConfig
    weights_bytes: int


def read(folder: Path) -> Model:
    """Return the model in a folder. Raises UsageError."""
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise UsageError(
            "model_config_unreadable",
            "{path} cannot be read ({reason}).",
            "Name a model's folder.",
            path=f"{folder}/config.json",
            reason=str(error),
        ) from None
    return Model(config, sum(path.stat().st_size for path in folder.glob("*.safetensors")))


def group_size(folder: Path, recipe: Recipe) -> int:
    """Return the recipe's group size, or a smaller one where only that divides the model's sizes. Raises UsageError."""
    return recipes.group_size(read(folder).config, recipe) or recipe.group_size


def problems(model: Model, recipe: Recipe, group_size: int, place: Path) -> list[str]:
    """Return a sentence for each obstacle; none means that the recipe can run."""
    found = []
    if model.config.get("quantization_config") or model.config.get("compression_config"):
        found.append("the model is quantized already: name its 16-bit base.")
    found += _indivisible(model.config, group_size) if recipe.group_size else []
    need, free = ram_bytes(model, recipe), available_ram_bytes()
    if free is not None and need > free:
        found.append(
            f"it needs {need / GIB:.1f} GiB of memory and {free / GIB:.1f} GiB are available: use another host."
        )
    need, free = model.weights_bytes, store.free_bytes(place)
    if need > free:
        found.append(f"{place} has {free / GIB:.1f} GiB free and the result may take {need / GIB:.1f}: make room.")
    return found


def card_problems(model: Model, recipe: Recipe, card: Card) -> list[str]:
    """Return a sentence for each obstacle of the first card (gpu.facts); an unknown fact is none."""
    found = []
    own = card.get("compute_capability")
    if own and tuple(own) < recipe.capability:
        asked = ".".join(map(str, recipe.capability))
        found.append(f"the card has compute capability {'.'.join(map(str, own))} and the recipe asks for {asked}.")
    whole, used = card.get("memory_gib"), card.get("used_gib")
    if whole is None or used is None:
        return found
    free, gate, work = whole - used, CARD_SHARE * whole, card_bytes(model, recipe) / GIB
    names = ", ".join(f"{one['name'] or 'process'} ({one['pid']})" for one in card.get("processes") or [])
    if free < max(gate, work):
        found.append(
            f"the card has {free:.1f} of {whole:.1f} GiB free, and "
            + (f"the gate takes {gate:.1f}" if gate >= work else f"the recipe takes {work:.1f}")
            + (f": end {names}." if names else ": free it, or use another host.")
        )
    return found


def card_bytes(model: Model, recipe: Recipe) -> int:
    """Return about how much of a card the recipe takes: a layer at a time, and of GPTQ the Hessian of the widest."""
    layer = model.weights_bytes / max(model.config.get("num_hidden_layers") or 1, 1)
    return round(2 * layer + _hessian_bytes(model, recipe) + _ON_CARD_GIB * GIB)


def short(tokens: Mapping[str, int], source: str) -> list[str]:
    """Return a sentence for each part of the texts that has too few tokens; a recipe without calibration has 0."""
    return [
        f"{source} has {count} tokens to {part}, and {FEWEST[part]} are the least: write more."
        for part, count in tokens.items()
        if 0 < count < FEWEST[part] or (part == "judge by" and not count)
    ]


def _indivisible(config: ModelConfig, group_size: int) -> list[str]:
    """Return sentences about layers whose input is not a whole number of groups."""
    inputs = recipes.group_inputs(config)
    odd = {name: size for name, size in inputs.items() if size % group_size}
    smaller = [size for size in recipes.GROUP_SIZES if not any(value % size for value in inputs.values())]
    cure = f"--group-size {smaller[0]}" if smaller else "a recipe of 8 bits"
    return [f"{name} is {size}, no whole number of groups of {group_size}: use {cure}." for name, size in odd.items()]


def ram_bytes(model: Model, recipe: Recipe) -> int:
    """Return about how much memory the recipe takes without a card: weights, and of GPTQ the widest layer's Hessian."""
    return round(model.weights_bytes * 1.2 + _hessian_bytes(model, recipe) + _PYTHON_GIB * GIB)


def _hessian_bytes(model: Model, recipe: Recipe) -> int:
    widest = max(model.config.get("intermediate_size") or 0, model.config.get("hidden_size") or 0)
    return int(_HESSIANS * 4 * widest**2) if "gptq" in recipe.method else 0


def available_ram_bytes() -> int | None:
    """Return what Linux says is available without swapping, None when it does not say."""
    for line in MEMINFO.read_text().splitlines() if MEMINFO.exists() else []:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None
