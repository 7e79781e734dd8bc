"""The result of a recipe before it exists: its place in the store, its format, and which results are to be made.

The place is named after what the result is made of, so that a plan names it before the recipe has run, and a second run
finds it: <store>/quantized/NAME-RECIPE/KEY. Another revision of the base, or another recipe, is another place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..catalog.recipes import RECIPES
from . import manifest, store_layout

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.facts import RequiredResult
    from roundhouse.schema.plan import Agent


def path(model: str, revision: str | None, recipe_name: str, options: Mapping[str, object] | None = None) -> str:
    """Return a result's place below the store. `options` are those that differ from the recipe's own."""
    recipe = RECIPES[recipe_name]
    made_of = [model, revision, recipe.method, recipe.scheme, recipe.group_size, recipe.samples, options or {}]
    key = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:40]
    return f"{store_layout.QUANTIZED}/{Path(model).name}-{recipe_name}/{key}"


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
