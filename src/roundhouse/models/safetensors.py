"""Check that a model's folder is complete by its safetensors headers, without loading weights.

A file's length is compared with the one in its header, which detects a truncated download. Only checksums (verify.py)
detect wrong bytes of the right length.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..util import json_file
from . import manifest

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.plan import Agent


_HEADER_LIMIT_BYTES = 100 * 1024 * 1024  # the safetensors format's own limit


def of(agent: Agent) -> Iterator[tuple[str, Path, str | None]]:
    """Yield the name, folder and recipe (None without one) of an agent's model and draft model."""
    yield agent["model"], Path(agent["model_path"]), agent.get("quantize")
    draft, draft_path = agent.get("draft_model"), agent.get("draft_model_path")
    if draft and draft_path:
        yield draft, Path(draft_path), None


def problem(folder: Path) -> str | None:
    """Return the first problem of the folder, None if it is complete."""
    if not folder.is_dir():
        return f"{folder} is not a folder"
    if not (folder / "config.json").is_file():
        return f"{folder} has no config.json"
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json", "tokenizer.model")):
        return f"{folder} has no tokenizer (tokenizer.json, vocab.json or tokenizer.model)"
    index = folder / "model.safetensors.index.json"
    try:
        file = folder / "config.json"
        if not isinstance(json_file.read_foreign(file), dict):
            raise TypeError("not an object")
        wanted = sorted(path.name for path in folder.glob("*.safetensors"))
        if index.is_file():
            file = index
            wanted = sorted(set(json_file.read_foreign(file)["weight_map"].values()))
        if strange := next((name for name in wanted if not manifest.is_name(name)), None):
            raise ValueError(f"the file {strange!r}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{file} is damaged ({type(error).__name__}: {error})"
    if not wanted:
        return f"{folder} has no .safetensors file"
    return next((found for name in wanted if (found := _file_problem(folder / name))), None)


def own_problem(folder: str) -> str | None:
    """Return a sentence about a model folder that the roster names, None if it is complete."""
    if not Path(folder).exists():
        return f"{folder} of the roster does not exist: put the model there, or name a different folder."
    found = problem(Path(folder))
    return f"{found}: {remedy(folder)}" if found else None


def remedy(model: str, recipe: str | None = None) -> str:
    """Return the remedy for an incomplete folder. `model` is its name in the roster, or that of the recipe's base."""
    if recipe:
        return f"run ansible-playbook site.yml, which quantizes {model} with {recipe} again."
    if model.startswith("/"):
        return "put the model's files there again, or name a different model in the roster."
    return "run ansible-playbook site.yml, which fetches damaged files again."


def _file_problem(path: Path) -> str | None:
    if not path.is_file():
        return f"{path} is missing"
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(_HEADER_LIMIT_BYTES, size):
            return f"{path} does not start with a safetensors header"
        try:
            header = json_file.parse(file.read(length))
            tensors = [entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"]
            promised = 8 + length + max((int(end) for _, end in tensors), default=0)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            return f"{path} has a damaged safetensors header"
    if size != promised:
        return f"{path} has {size} bytes, but its header states {promised}"
    return None
