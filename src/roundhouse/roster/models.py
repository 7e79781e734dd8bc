"""Find the models of a roster's agent for the fit, in the catalog or by the config.json of a host's folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..catalog import hf_config, model_families, recipes
from ..catalog.architecture import Model, Unknown
from ..catalog.recipes import RECIPES, Recipe
from ..models import known
from ..vllm.formats import ONLINE, WEIGHT_FORMATS, members

if TYPE_CHECKING:
    from typing import TypeAlias

    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.facts import ModelConfig
    from roundhouse.schema.roster import WantedModel

# The config.json of each folder that a roster names, by the folder's path, as read on the host. Models of a hub have
# theirs by owner/name, as models.known has them.
Configs: TypeAlias = "Mapping[str, ModelConfig]"


def find(entry: WantedModel, configs: Configs) -> Model | Unknown:
    """Return the model of one entry of an agent's `models`, in the format that the engine will load."""
    found = checkpoint(entry["model"], configs)
    if isinstance(found, Model) and found.form.name == "bf16":
        if recipe := RECIPES.get(entry.get("quantize", "")):
            return _quantized(found, recipe)
        if online := ONLINE.get(entry.get("quantization", "")):
            return model_families.in_format(entry["model"], found.architecture, online)
    return found


def checkpoint(name: str, configs: Configs) -> Model | Unknown:
    """Return a model in its stored format, from the hub or from a folder of the host."""
    if name.startswith("/"):
        config = configs.get(name)
        return hf_config.parse(config, name) if config else Unknown(name, f"{name} has no config.json on this host.")
    if config := configs.get(name):  # read from the hub before the download (models/known.py)
        return known.model(config, name)
    return model_families.find(name) or Unknown(name, f"{name} is not in the catalog of models.")


def _quantized(base: Model, recipe: Recipe) -> Model:
    """Return the model that a recipe makes from a 16-bit base."""
    form = WEIGHT_FORMATS[recipe.form]
    if recipe.group_size:
        sizes = base.architecture._asdict()
        form = form._replace(group_size=recipes.group_size(sizes, recipe) or recipe.group_size)
    return base._replace(form=form)


def problem(at: str, entry: WantedModel, found: Model | Unknown) -> str | None:
    """Return a sentence if `quantization` differs from the checkpoint's format, None if equal or unknown."""
    word = entry.get("quantization")
    if word is None or isinstance(found, Unknown):
        return None
    held = found.form.name
    if word in ONLINE:
        # For a 16-bit checkpoint `find` returns the format after online quantization; others are quantized already.
        stated = model_families.find(entry["model"])
        fine = held == ONLINE[word] and (stated is None or stated.form.name == "bf16")
    else:
        fine = held in members(word)
    if fine:
        return None
    of_16_bit = f"write {next(iter(ONLINE))}, remove it, or name a repository in that format"
    cure = of_16_bit if held == "bf16" else f"remove it, or name a repository in {word}"
    return f"{at}.quantization is {word!r}, but {found.name} is {'16-bit' if held == 'bf16' else held}: {cure}."


def quantize_problem(at: str, entry: WantedModel, configs: Configs) -> str | None:
    """Return a sentence if the entry's `quantize` cannot be applied, None if it can or this is unknown."""
    word, base = entry.get("quantize"), checkpoint(entry["model"], configs)
    if word is None or isinstance(base, Unknown):
        return None
    if base.form.name != "bf16":
        return f"{at}.quantize is {word!r}, but {base.name} is {base.form.name}: remove it, or name the 16-bit base."
    recipe = RECIPES[word]
    if recipe.group_size and recipes.group_size(base.architecture._asdict(), recipe) is None:
        whole = ", ".join(name for name, other in RECIPES.items() if not other.group_size)
        return (
            f"{at}.quantize is {word!r}, but its group sizes do not divide the layers of {base.name}: "
            f"write one of {whole}."
        )
    return None
