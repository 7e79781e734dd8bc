"""Find the safetensors repository of an Ollama model by the metadata of its file, else by its library name.

Only repositories of the catalog are returned, None for all others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from ..catalog import model_families as catalog
from . import models
from .report import Outcome

_OWNERS = ("Qwen", "meta-llama", "mistralai", "microsoft")
# Name in Ollama's library -> the pattern of the repository, and the size of `latest`.
_LIBRARY = {
    "qwen2.5": ("Qwen/Qwen2.5-{}-Instruct", "7B"),
    "qwen2.5-coder": ("Qwen/Qwen2.5-Coder-{}-Instruct", "7B"),
    "qwen3": ("Qwen/Qwen3-{}", "8B"),
    "qwq": ("Qwen/QwQ-{}", "32B"),
    "llama3": ("meta-llama/Meta-Llama-3-{}-Instruct", "8B"),
    "llama3.1": ("meta-llama/Llama-3.1-{}-Instruct", "8B"),
    "llama3.2": ("meta-llama/Llama-3.2-{}-Instruct", "3B"),
    "llama3.3": ("meta-llama/Llama-3.3-{}-Instruct", "70B"),
    "mistral": ("mistralai/Mistral-{}-Instruct-v0.3", "7B"),
    "phi4": ("microsoft/phi-4", "14B"),
}
_SIZE = re.compile(r"(?:^|-)(?P<size>\d+(?:\.\d+)?b(?:-a\d+b)?)(?=-|$)", re.IGNORECASE)
_QUANTIZED = re.compile(r"-?(?:i?q\d\w*|b?fp?16)$", re.IGNORECASE)
# The nominal size is approximate: 0.6B has 0.75 billion parameters with the output layer, 7B has 7.6.
_SIZE_TOLERANCE = 1.35
_SHOWN = 60


class Match(NamedTuple):
    """A repository, and a sentence with the evidence for it."""

    repo: str
    evidence: str


def by_metadata(metadata: Mapping[str, object]) -> Match | None:
    """Return the repository by the name in a GGUF's metadata, None if it is unknown."""
    parts = [str(metadata.get(f"general.{part}") or "") for part in ("basename", "size_label", "finetune", "version")]
    for name in (str(metadata.get("general.name") or "").strip(), "-".join(part for part in parts if part)):
        plain = re.sub(r"[\s_]+", "-", name)
        if repo := _owned(plain) or _owned(plain.removeprefix("Meta-")):
            return Match(repo, f"The name in its file is {name!r}.")
    return None


def by_name(name: str, tag: str, parameters: str | None = None) -> Match | None:
    """Return the repository of a name in Ollama's library; `parameters` is the size in the model's configuration."""
    if name not in _LIBRARY:
        repo = _owned(re.sub(r"-gguf$", "", name, flags=re.IGNORECASE))
        return Match(repo, f"The model's name is {name}.") if repo else None
    pattern, usual = _LIBRARY[name]
    variant = _QUANTIZED.sub("", tag)
    match = _SIZE.search(variant)
    size = match["size"].upper() if match else usual
    suffix = _SIZE.sub("", variant, count=1).strip("-").removeprefix("latest")
    repo = pattern.format(size)
    if "{}" in pattern and suffix not in ("", "instruct"):
        words = [] if suffix in ("base", "text") else [part.capitalize() for part in suffix.split("-") if part]
        repo = "-".join([repo.removesuffix("-Instruct"), *words])
    if catalog.find(repo) is None or not _is_about(size, parameters):
        return None
    return Match(repo, f"The model is {name}:{tag} of Ollama's library.")


def proposal(match: Match, form: str) -> Outcome:
    """Return the models for a repository whose weights Ollama stores in a llama.cpp file type."""
    sixteen_bit = form.lower() in ("f16", "bf16", "f32", "fp16")
    outcome = models.propose(match.repo, "" if sixteen_bit else form or "gguf")
    return outcome._replace(why=f"{match.evidence} {outcome.why}")


def shortened(text: str) -> str:
    """Return the first 60 characters of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."


def _owned(name: str) -> str | None:
    if not re.fullmatch(r"[\w.-]+", name):
        return None
    return next((repo for owner in _OWNERS if catalog.find(repo := f"{owner}/{name}")), None)


def _is_about(size: str, parameters: str | None) -> bool:
    """Return true if a nominal size matches the number of parameters, or the number is unknown."""
    counted = re.fullmatch(r"(\d+(?:\.\d+)?)([MB])", parameters or "")
    if not counted:
        return True
    ratio = float(counted[1]) / (1000 if counted[2] == "M" else 1) / float(size.partition("B")[0])
    return 1 / _SIZE_TOLERANCE < ratio < _SIZE_TOLERANCE
