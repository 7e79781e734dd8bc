"""The result of a recipe before it exists: its place in the store, its format, and which results are to be made.

The place is named after what the result is made of, so that a plan names it before the recipe has run, and a second run
finds it: <store>/quantized/NAME-RECIPE/KEY. Another revision of the base, or another recipe, is another place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..catalog import recipes
from ..catalog.model_families import Architecture, Model
from ..catalog.recipes import RECIPES, Recipe
from ..vllm.formats import WEIGHT_FORMATS
from . import manifest, store_layout

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.facts import ModelConfig, RequiredResult
    from roundhouse.schema.plan import Agent
    from roundhouse.schema.roster import WantedAgent, WantedModel


def path(model: str, revision: str | None, recipe_name: str, options: Mapping[str, object] | None = None) -> str:
    """Return a result's place below the store. `options` are those that differ from the recipe's own."""
    recipe = RECIPES[recipe_name]
    made_of = [model, revision, recipe.method, recipe.scheme, recipe.group_size, recipe.samples, options or {}]
    key = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:40]
    return f"{store_layout.QUANTIZED}/{Path(model).name}-{recipe_name}/{key}"


def model(base: Model, recipe: Recipe) -> Model:
    """Return the catalog's model for the result of a 16-bit base."""
    form = WEIGHT_FORMATS[recipe.form]
    if recipe.group_size:
        form = form._replace(group_size=group_size(base.architecture, recipe) or recipe.group_size)
    return base._replace(form=form)


def group_size(shape: Architecture | ModelConfig, recipe: Recipe) -> int | None:
    """Return the recipe's group size, or a smaller one that divides the model's sizes; None where none does."""
    return recipes.group_size(group_inputs(shape).values(), recipe)


def group_inputs(shape: Architecture | ModelConfig) -> dict[str, int]:
    """Return the inputs of the layers that a recipe with groups divides, by the names that config.json has too."""
    sizes = shape._asdict() if isinstance(shape, Architecture) else shape
    heads = sizes.get("num_attention_heads") or 1
    found = {
        "hidden_size": sizes.get("hidden_size"),
        "intermediate_size": sizes.get("intermediate_size"),
        "num_attention_heads * head_dim": heads * (sizes.get("head_dim") or (sizes.get("hidden_size") or 0) // heads),
        "moe_intermediate_size": sizes.get("moe_intermediate_size"),
    }
    return {name: size for name, size in found.items() if size}


def required_results(agents: Iterable[Agent]) -> list[RequiredResult]:
    """Return the results that planned agents need, each once."""
    found: dict[str, RequiredResult] = {}
    for agent in agents:
        if recipe := agent.get("quantize"):
            place = agent["model_path"]
            found[place] = {"model": agent["model"], "revision": agent["revision"], "recipe": recipe, "path": place}
    return list(found.values())


def to_make(required: Iterable[RequiredResult]) -> list[RequiredResult]:
    """Return those that are missing or changed since they were admitted; reads no content."""
    return [result for result in required if not is_made(Path(result["path"]))]


def is_there(result: RequiredResult) -> bool:
    """Return whether a result exists; reads nothing of it."""
    return store_layout.existing(Path(result["path"])).is_dir()


def is_made(folder: Path) -> bool:
    """Return whether a result exists as it was admitted; reads no content."""
    folder = store_layout.existing(folder)
    held = manifest.read(folder)
    return held is not None and held.is_unchanged(folder)


def stamp(folder: Path) -> str | None:
    """Return what stands for the revision of a user's own folder: its weights' lengths and modification times."""
    parts = [path for path in sorted(folder.glob("*")) if path.name == "config.json" or path.suffix == ".safetensors"]
    if not parts:
        return None
    seen = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in parts]
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:40]


def stamps(agents: object) -> dict[str, str]:
    """Return the stamps of the folders that a roster wants quantized and this machine has, by their path."""
    names = [entry["model"] for entry in _entries(agents) if str(entry.get("model")).startswith("/")]
    return {name: found for name in names if (found := stamp(Path(name)))}


def with_stamps(agents: Iterable[WantedAgent], known: Mapping[str, str]) -> list[WantedAgent]:
    """Return a roster in which a folder that is to be quantized has its stamp as the revision."""
    found = []
    for agent in agents:
        stamped = agent.copy()
        stamped["models"] = [_with_stamp(entry, known) for entry in agent["models"]]
        found.append(stamped)
    return found


def _with_stamp(entry: WantedModel, known: Mapping[str, str]) -> WantedModel:
    if not entry.get("quantize") or entry["model"] not in known:
        return entry
    stamped = entry.copy()
    stamped["revision"] = known[entry["model"]]
    return stamped


def _entries(agents: object) -> list[dict[str, Any]]:
    """Return the entries with `quantize` of an unchecked roster."""
    models = [agent.get("models") for agent in agents if isinstance(agent, dict)] if isinstance(agents, list) else []
    entries = [entry for each in models if isinstance(each, list) for entry in each if isinstance(entry, dict)]
    return [entry for entry in entries if entry.get("quantize")]
