"""Which safetensors repository a model of Ollama's is: by what its file says of itself, else by its library name.

Only repositories of the catalog are answered with; None for all others, which are many.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from . import catalog

_OWNERS = ("Qwen", "meta-llama", "mistralai", "microsoft")
# Ollama's library: the repository of a size, and the size of its bare name and of `latest`.
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
_SIZE = re.compile(r"(?:^|-)(?P<size>\d+(?:\.\d+)?b(?:-a\d+b)?)(?:-|$)", re.IGNORECASE)
_QUANTIZED = re.compile(r"-?(?:(?:i?q\d\w*)|fp16|f16|bf16)$", re.IGNORECASE)
# A size is counted roundly: 0.6B are 0.75 with the output layer, 7B are 7.6.
_ROUNDLY = 1.35


class Nearest(NamedTuple):
    """A repository, and what says so."""

    repo: str
    evidence: str


def by_head(head: Mapping[str, object]) -> Nearest | None:
    """Return the repository that a GGUF's own name means."""
    name = str(head.get("general.name") or "").strip()
    parts = [str(head.get(f"general.{part}") or "") for part in ("basename", "size_label", "finetune", "version")]
    for told in (name, "-".join(part for part in parts if part)):
        plain = re.sub(r"[\s_]+", "-", told)
        for each in (plain, plain.removeprefix("Meta-")):
            if repo := _owned(each):
                return Nearest(repo, f"its file calls itself {told!r}")
    return None


def by_name(name: str, tag: str, parameters: str | None = None) -> Nearest | None:
    """Return the repository of a name of Ollama's library; `parameters` is what its configuration counts."""
    if name not in _LIBRARY:
        plain = re.sub(r"-gguf$", "", name, flags=re.IGNORECASE)
        repo = _owned(plain)
        return Nearest(repo, f"it is named {name}") if repo else None
    pattern, usual = _LIBRARY[name]
    variant = _QUANTIZED.sub("", tag)
    match = _SIZE.search(variant)
    size = match["size"].upper() if match else usual
    rest = re.sub(r"^-|-$", "", (variant.replace(match["size"], "", 1) if match else variant).replace("latest", ""))
    if "{}" in pattern and rest not in ("", "instruct"):
        base = pattern.format(size).removesuffix("-Instruct")
        words = [part.capitalize() for part in rest.split("-") if part]
        repo = base if rest in ("base", "text") else "-".join([base, *words])
    else:
        repo = pattern.format(size)
    if catalog.find(repo) is None or not _as_large(size, parameters):
        return None
    return Nearest(repo, f"it is {name}:{tag} of Ollama's library")


def _owned(name: str) -> str | None:
    if not re.fullmatch(r"[\w.-]+", name):
        return None
    return next((repo for owner in _OWNERS if catalog.find(repo := f"{owner}/{name}")), None)


def _as_large(size: str, parameters: str | None) -> bool:
    """Return whether a size is the one that is counted; where nothing is counted the name has the word."""
    told = re.fullmatch(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>[MB])", parameters or "")
    if not told:
        return True
    counted = float(told["number"]) / (1000 if told["unit"] == "M" else 1)
    named = float(size.partition("B")[0])
    return counted / named < _ROUNDLY and named / counted < _ROUNDLY
