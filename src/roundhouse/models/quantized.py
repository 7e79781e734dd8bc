"""The result of a recipe before there is one: its place in the store, its format, and what of it is still to be made.

The place is named after what the result is made of, so that a plan names it before the recipe has run, and a second run
finds it: <store>/quantized/NAME-RECIPE/KEY. Another revision of the base, or another recipe, is another place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..catalog import recipes
from ..catalog.models import Architecture, Model
from ..catalog.recipes import RECIPES, Recipe
from ..vllm.formats import WEIGHT_FORMATS
from . import manifest

OWNER = "quantized"

Agent = dict[str, Any]
# {"model", "revision", "recipe", "path"}: a result that an agent asks for.
Wish = dict[str, Any]


def path(model: str, revision: str | None, recipe_name: str, options: dict[str, Any] | None = None) -> str:
    """Return a result's place below the store. `options` are those that differ from the recipe's own."""
    recipe = RECIPES[recipe_name]
    made_of = [model, revision, recipe.method, recipe.scheme, recipe.group_size, recipe.samples, options or {}]
    key = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:40]
    return f"{OWNER}/{Path(model).name}-{recipe_name}/{key}"


def model(base: Model, recipe: Recipe) -> Model:
    """Return what becomes of a 16-bit base, as the fit wants it."""
    form = WEIGHT_FORMATS[recipe.form]
    if recipe.group_size:
        form = form._replace(group_size=recipes.group_size(sizes(base.architecture), recipe) or recipe.group_size)
    return base._replace(form=form)


def sizes(shape: Architecture) -> list[int]:
    """Return the inputs of the layers that a recipe with groups divides."""
    own = (shape.hidden_size, shape.intermediate_size, shape.num_attention_heads * shape.head_dim)
    return [size for size in (*own, shape.moe_intermediate_size) if size]


def wishes(agents: Iterable[Agent]) -> list[Wish]:
    """Return what planned agents ask for, each result once."""
    asked = [agent for agent in agents if agent.get("quantize")]
    found = {agent["model_path"]: agent for agent in asked}
    return [
        {"model": agent["model"], "revision": agent["revision"], "recipe": agent["quantize"], "path": place}
        for place, agent in found.items()
    ]


def to_make(asked: Iterable[Wish]) -> list[Wish]:
    """Return those that are not there as they were admitted; reads no content."""
    return [wish for wish in asked if not is_made(Path(wish["path"]))]


def is_made(folder: Path) -> bool:
    """Return whether a result is there as it was admitted; reads no content."""
    held = manifest.read(folder)
    return held is not None and all(held.is_known_good(folder, file) for file in held.files)


def stamp(folder: Path) -> str | None:
    """Return what stands for the revision of a folder of the user's own: its weights' lengths and times of change."""
    parts = [path for path in sorted(folder.glob("*")) if path.name == "config.json" or path.suffix == ".safetensors"]
    if not parts:
        return None
    seen = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in parts]
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:40]


def stamps(agents: Any) -> dict[str, str]:
    """Return the stamps of the folders that a roster wants quantized and this machine has, by their path."""
    names = [entry["model"] for entry in _entries(agents) if str(entry.get("model")).startswith("/")]
    return {name: found for name in names if (found := stamp(Path(name)))}


def with_stamps(agents: list[Agent], known: Mapping[str, str]) -> list[Agent]:
    """Return a roster in which a folder that is to be quantized has its stamp as the revision."""
    return [
        agent
        | {
            "models": [
                entry | {"revision": known[entry["model"]]}
                if entry.get("quantize") and entry["model"] in known
                else entry
                for entry in agent["models"]
            ]
        }
        for agent in agents
    ]


def _entries(agents: Any) -> list[dict[str, Any]]:
    """Return the entries with `quantize` of what may be a roster."""
    models = [agent.get("models") for agent in agents if isinstance(agent, dict)] if isinstance(agents, list) else []
    entries = [entry for each in models if isinstance(each, list) for entry in each if isinstance(entry, dict)]
    return [entry for entry in entries if entry.get("quantize")]
