"""Build a request for `roundhouse quantize` from a base, a recipe, and options that override the recipe."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..catalog.recipes import RECIPES, Recipe
from ..errors import UsageError
from ..models import quantized
from . import requirements
from . import texts as quantize_texts


class Options(NamedTuple):
    """Options that override the recipe; None keeps the recipe's value."""

    group_size: int | None = None
    samples: int | None = None
    seed: int = 0
    calibration: Path | None = None


class QuantizeRequest(NamedTuple):
    """One model to quantize. `model` is the base's name (hub or folder), `revision` its revision or folder stamp."""

    base: Path
    model: str
    revision: str | None
    recipe_name: str
    recipe: Recipe
    group_size: int
    samples: int
    seed: int
    texts: quantize_texts.Texts
    path: str  # below the store

    def base_name(self) -> str:
        """Return the base's name for messages."""
        return Path(self.model).name if self.model.startswith("/") else self.model


def of(base: Path, model: str, revision: str | None, recipe_name: str, options: Options = Options()) -> QuantizeRequest:  # noqa: B008 - it cannot change
    """Return the request. Raises UsageError if the texts or the base's config.json cannot be read."""
    recipe, read = RECIPES[recipe_name], quantize_texts.read(options.calibration)
    samples = recipe.samples if options.samples is None else options.samples
    if recipe.samples and not 0 < samples <= len(read.calibration):
        raise UsageError(
            "calibration_too_short",
            "{recipe} needs {samples} calibration texts, but {source} has {available}.",
            "Add texts, or set --samples {available}.",
            recipe=recipe_name,
            samples=samples,
            source=read.source,
            available=len(read.calibration),
        )
    differing = options._replace(calibration=None)._asdict() | {"texts": read.sha256 if options.calibration else None}
    own = Options()._asdict()
    return QuantizeRequest(
        base=base,
        model=model,
        revision=revision,
        recipe_name=recipe_name,
        recipe=recipe,
        group_size=options.group_size or requirements.group_size(base, recipe),
        samples=samples,
        seed=options.seed,
        texts=read,
        path=quantized.path(
            model, revision, recipe_name, {name: value for name, value in differing.items() if value != own.get(name)}
        ),
    )
