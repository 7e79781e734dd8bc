"""Compute the path of a quantized model before it exists, and list the quantized models to make.

The path is <store>/quantized/NAME-RECIPE/KEY, where KEY is a hash of all inputs. Therefore a plan can name it before
the recipe runs, and a second run finds it. A different base revision or recipe has a different path.
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
    """Return a quantized model's path below the store. `options` are those that differ from the recipe's."""
    recipe = RECIPES[recipe_name]
    made_of = [model, revision, recipe.method, recipe.scheme, recipe.group_size, recipe.samples, options or {}]
    key = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:40]
    return f"{store_layout.QUANTIZED}/{Path(model).name}-{recipe_name}/{key}"


def required_results(agents: Iterable[Agent]) -> list[RequiredResult]:
    """Return the quantized models that planned agents need, each once."""
    found: dict[str, RequiredResult] = {}
    for agent in agents:
        if recipe := agent.get("quantize"):
            place = agent["model_path"]
            found[place] = {"model": agent["model"], "revision": agent["revision"], "recipe": recipe, "path": place}
    return list(found.values())


def to_make(required: Iterable[RequiredResult]) -> list[RequiredResult]:
    """Return the quantized models that are missing or have changed since their quality gate; reads no content."""
    return [result for result in required if not is_made(Path(result["path"]))]


def is_there(result: RequiredResult) -> bool:
    """Return true if the folder of a quantized model exists; reads no files."""
    return store_layout.existing(Path(result["path"])).is_dir()


def is_made(folder: Path) -> bool:
    """Return true if a quantized model exists and is unchanged since its quality gate; reads no content."""
    folder = store_layout.existing(folder)
    held = manifest.read(folder)
    return held is not None and held.is_unchanged(folder)
