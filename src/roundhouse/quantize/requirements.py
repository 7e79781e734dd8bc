"""Check a recipe's requirements for the model and the host by config.json, before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..catalog import recipes
from ..catalog.recipes import Recipe
from ..errors import UsageError
from ..host import gpu_process
from ..models import store
from ..util.units import GIB
from .scorer import CARD_SHARE, WINDOW_TOKENS

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.cards import Card
    from roundhouse.schema.facts import ModelConfig

MEMINFO = Path("/proc/meminfo")
# Memory besides the weights: the Hessian of the widest layer and a copy to factor it (32 bits), and Python itself.
_HESSIANS, _PYTHON_GIB = 3, 2.0
# Memory on the card for its context and the activations of a text. This upper bound was not measured.
_ON_CARD_GIB = 2.0
# The minimum of tokens by use; results with fewer are not meaningful.
FEWEST = {"calibration": 512, "evaluation": 4 * WINDOW_TOKENS}


class Model(NamedTuple):
    """The facts of a model's folder."""

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
            "Name a folder with a model.",
            path=f"{folder}/config.json",
            reason=str(error),
        ) from None
    return Model(config, sum(path.stat().st_size for path in folder.glob("*.safetensors")))


def group_size(folder: Path, recipe: Recipe) -> int:
    """Return the recipe's group size, or a smaller one if the model's layers need it. Raises UsageError."""
    return recipes.group_size(read(folder).config, recipe) or recipe.group_size


def problems(model: Model, recipe: Recipe, group_size: int, place: Path) -> list[str]:
    """Return a sentence for each unmet requirement, [] if the recipe can run."""
    found = []
    if model.config.get("quantization_config") or model.config.get("compression_config"):
        found.append("the model is already quantized: name its 16-bit base.")
    found += _indivisible(model.config, group_size) if recipe.group_size else []
    need, free = ram_bytes(model, recipe), available_ram_bytes()
    if free is not None and need > free:
        found.append(
            f"it needs {need / GIB:.1f} GiB of memory, but {free / GIB:.1f} GiB are available: use a larger host."
        )
    need, free = model.weights_bytes, store.free_bytes(place)
    if need > free:
        found.append(
            f"{place} has {free / GIB:.1f} GiB free, but the result may need {need / GIB:.1f} GiB: free disk space."
        )
    return found


def card_problems(model: Model, recipe: Recipe, card: Card) -> list[str]:
    """Return a sentence for each unmet requirement of the first card (gpu.facts); unknown facts are not checked."""
    found = []
    own = card.get("compute_capability")
    if own and tuple(own) < recipe.capability:
        asked = ".".join(map(str, recipe.capability))
        found.append(f"the recipe needs compute capability {asked}, but the card has {'.'.join(map(str, own))}.")
    whole, used = card.get("memory_gib"), card.get("used_gib")
    if whole is None or used is None:
        return found
    free, gate, work = whole - used, CARD_SHARE * whole, card_bytes(model, recipe) / GIB
    others = [one for one in card.get("processes") or [] if not gpu_process.is_desktop(one["kinds"], one["name"])]
    names = ", ".join(f"{one['name'] or 'process'} ({one['pid']})" for one in others)
    if free < max(gate, work):
        found.append(
            f"the card has {free:.1f} of {whole:.1f} GiB free, but "
            + (f"the quality gate needs {gate:.1f}" if gate >= work else f"the recipe needs {work:.1f}")
            + (f": stop {names}." if names else ": free it, or use another host.")
        )
    return found


def card_bytes(model: Model, recipe: Recipe) -> int:
    """Return an estimate of the recipe's card memory in bytes: one layer at a time, and GPTQ's largest Hessian."""
    layer = model.weights_bytes / max(model.config.get("num_hidden_layers") or 1, 1)
    return round(2 * layer + _hessian_bytes(model, recipe) + _ON_CARD_GIB * GIB)


def short(tokens: Mapping[str, int], source: str) -> list[str]:
    """Return a sentence for each part of the texts with too few tokens; a recipe without calibration has 0."""
    return [
        f"{source} has {count} tokens for {part}, but needs at least {FEWEST[part]}: add texts."
        for part, count in tokens.items()
        if 0 < count < FEWEST[part] or (part == "evaluation" and not count)
    ]


def _indivisible(config: ModelConfig, group_size: int) -> list[str]:
    """Return a sentence for each kind of layer whose input size is not a multiple of the group size."""
    inputs = recipes.group_inputs(config)
    odd = {name: size for name, size in inputs.items() if size % group_size}
    smaller = [size for size in recipes.GROUP_SIZES if not any(value % size for value in inputs.values())]
    cure = f"--group-size {smaller[0]}" if smaller else "a recipe of 8 bits"
    return [
        f"{name} is {size}, not a multiple of the group size {group_size}: use {cure}." for name, size in odd.items()
    ]


def ram_bytes(model: Model, recipe: Recipe) -> int:
    """Return an estimate of the recipe's memory in bytes without a card: weights, and GPTQ's largest Hessian."""
    return round(model.weights_bytes * 1.2 + _hessian_bytes(model, recipe) + _PYTHON_GIB * GIB)


def _hessian_bytes(model: Model, recipe: Recipe) -> int:
    widest = max(model.config.get("intermediate_size") or 0, model.config.get("hidden_size") or 0)
    return int(_HESSIANS * 4 * widest**2) if "gptq" in recipe.method else 0


def available_ram_bytes() -> int | None:
    """Return the bytes of memory that Linux reports as available without swapping, None if it does not."""
    for line in MEMINFO.read_text().splitlines() if MEMINFO.exists() else []:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None
