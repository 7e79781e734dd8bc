"""Find the models of a roster's agent for the fit: in the catalog, or by a host folder's config.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

from ..catalog import hf_config, model_families, recipes
from ..catalog.model_families import Model, Unknown
from ..catalog.recipes import RECIPES, Recipe
from ..vllm.formats import ONLINE, WEIGHT_FORMATS, members

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.facts import ModelConfig
    from roundhouse.schema.roster import WantedModel

# The config.json of each folder that a roster names, by its path, as they were read on the host.
Configs: TypeAlias = "Mapping[str, ModelConfig]"


def find(entry: WantedModel, configs: Configs) -> Model | Unknown:
    """Return the model of one entry of an agent's `models`, in the format that the engine will hold."""
    found = checkpoint(entry["model"], configs)
    if isinstance(found, Model) and found.form.name == "bf16":
        if recipe := RECIPES.get(entry.get("quantize", "")):
            return _quantized(found, recipe)
        if online := ONLINE.get(entry.get("quantization", "")):
            return model_families.in_format(entry["model"], found.architecture, online)
    return found


def checkpoint(name: str, configs: Configs) -> Model | Unknown:
    """Return a model as it is stored, in the hub or in a folder of the host."""
    if name.startswith("/"):
        config = configs.get(name)
        return hf_config.parse(config, name) if config else Unknown(name, f"{name} has no config.json here.")
    return model_families.find(name) or Unknown(name, f"{name} is not in the catalog of models.")


def _quantized(base: Model, recipe: Recipe) -> Model:
    """Return the catalog's model for the result of a 16-bit base."""
    form = WEIGHT_FORMATS[recipe.form]
    if recipe.group_size:
        sizes = base.architecture._asdict()
        form = form._replace(group_size=recipes.group_size(sizes, recipe) or recipe.group_size)
    return base._replace(form=form)


def problem(at: str, entry: WantedModel, found: Model | Unknown) -> str | None:
    """Return a sentence when the entry's `quantization` is not the checkpoint's, None when it is, or is not known."""
    word = entry.get("quantization")
    if word is None or isinstance(found, Unknown):
        return None
    held = found.form.name
    if word in ONLINE:
        # `find` has answered with what a 16-bit checkpoint becomes; anything else was quantized before.
        stated = model_families.find(entry["model"])
        fine = held == ONLINE[word] and (stated is None or stated.form.name == "bf16")
    else:
        fine = held in members(word)
    if fine:
        return None
    of_16_bit = f"write {next(iter(ONLINE))}, leave it out, or name a repository in that format"
    cure = of_16_bit if held == "bf16" else f"leave it out, or name a repository in {word}"
    return f"{at}.quantization is {word!r}, and {found.name} is {'16-bit' if held == 'bf16' else held}: {cure}."


def quantize_problem(at: str, entry: WantedModel, configs: Configs) -> str | None:
    """Return a sentence when the entry's `quantize` cannot be done, None when it can, or is not known."""
    word, base = entry.get("quantize"), checkpoint(entry["model"], configs)
    if word is None or isinstance(base, Unknown):
        return None
    if base.form.name != "bf16":
        return f"{at}.quantize is {word!r}, and {base.name} is {base.form.name}: leave it out, or name the 16-bit base."
    recipe = RECIPES[word]
    if recipe.group_size and recipes.group_size(base.architecture._asdict(), recipe) is None:
        whole = ", ".join(name for name, other in RECIPES.items() if not other.group_size)
        return f"{at}.quantize is {word!r}, and no group of it divides the sizes of {base.name}: write one of {whole}."
    return None
