"""Find the models that are known without a download: the data files of `families`, one for each family.

Each file has a source and a date. A model has the fields of its config.json that the fit needs. hf_config reads both
the catalog and downloaded models. A repository is a model in a format, with its own maximum length where that differs.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from ..util import json_file
from ..vllm.formats import WEIGHT_FORMATS
from . import hf_config
from .architecture import Architecture, Model, Unknown

__all__ = ["ARCHITECTURES", "Architecture", "Model", "Unknown", "find", "in_format", "known", "quantized", "similar"]

FOLDER = Path(__file__).resolve().parent / "families"
# Their 72B quantized repositories pad the intermediate size, so that 8 ranks get whole groups of 128.
_PADDED_72B = ("Qwen2.5-72B", "Qwen2-72B")
_PADDED_SIZE = 29696
_PADDED_FORMATS = ("awq", "gptq-int4", "gptq-int8")
# The formats of a family's quantized repositories, as its names end.
_SUFFIXES = ("AWQ", "GPTQ-Int4", "GPTQ-Int8", "FP8")
# A repository is [model, format] or [model, format, maximum length]; null is an unknown maximum.
_WITH_LENGTH = 3


@cache
def _files() -> tuple[dict[str, Any], ...]:
    return tuple(json_file.read_foreign(path) for path in sorted(FOLDER.glob("*.json")))


def _architectures() -> dict[str, Architecture]:
    found = {}
    for family in _files():
        for name, entry in family["models"].items():
            made = hf_config.parse(entry["config"], name)
            if isinstance(made, Unknown):
                raise ValueError(f"The catalog's {name}: {made.reason}")
            found[name] = made.architecture._replace(source=entry.get("source", family["source"]))
    return found


ARCHITECTURES = _architectures()
_FAMILY = {name: family for family in _files() for name in family["models"]}
_REPOSITORIES = {repo: entry for family in _files() for repo, entry in family["repositories"].items()}


def find(repo: str) -> Model | None:
    """Return the model of a hub's owner/name without a request to the hub, None for one that is not in the catalog."""
    entry = _REPOSITORIES.get(repo)
    if entry is None:
        return None
    shape = ARCHITECTURES[entry[0]]
    if len(entry) == _WITH_LENGTH:
        shape = shape._replace(max_position_embeddings=entry[2])
    return in_format(repo, shape, entry[1])


@cache
def known() -> tuple[str, ...]:
    """Return all repositories of the catalog, each as owner/name."""
    return tuple(_REPOSITORIES)


def similar(repo: str) -> list[str]:
    """Return up to three repositories of the catalog whose names are close to a name, with or without its owner."""
    import difflib  # only for an unknown model

    whole = {name.lower(): name for name in reversed(known())}
    names = {name.partition("/")[2]: each for name, each in whole.items()}
    owner, _, name = repo.lower().rpartition("/")
    close = difflib.get_close_matches(repo.lower(), whole, n=3, cutoff=0.75) if owner else []
    return [whole[each] for each in close] or [names[each] for each in difflib.get_close_matches(name, names, 3, 0.75)]


def quantized(repo: str, bits: int) -> str | None:
    """Return the family's repository of the same model with that number of bits per weight, None without one."""
    names = [f"{repo}-{suffix}" for suffix in _SUFFIXES]
    return next((name for name in names if (found := find(name)) and found.form.weight_bits == bits), None)


def in_format(name: str, shape: Architecture, form: str) -> Model:
    """Return an architecture of the catalog in a format of `formats.WEIGHT_FORMATS`, with the family's other parts."""
    if shape.name in _PADDED_72B and form in _PADDED_FORMATS:
        shape = shape._replace(intermediate_size=_PADDED_SIZE)
    stated = _FAMILY.get(shape.name, {}).get("parts", {}).get(form, {})
    parts = tuple((role, WEIGHT_FORMATS[part]) for role, part in stated.items())
    return Model(name=name, architecture=shape, form=WEIGHT_FORMATS[form], source=shape.source, parts=parts)
