"""Derive an agent's name from the names of models, services and files."""

from __future__ import annotations

import re
from pathlib import Path

from ..roster import fields

_COMMON = ("vllm", "llm", "agent", "server", "service", "api", "openai", "engine", "container")


def agent_name(text: str) -> str:
    """Return the closest valid name of an agent, empty if there is none."""
    parts = re.split(r"[^a-z0-9]+", text.lower().rpartition("/")[2])
    name = "-".join(part for part in parts if part and part not in _COMMON)
    name = re.sub(r"^[^a-z]+", "", name)[: fields.LONGEST_NAME].strip("-")
    return f"{name}-agent" if name in fields.RESERVED else name


def in_file_name(path: Path) -> str:
    """Return the agent's name in a file name, such as architect in docker-compose-architect.yml."""
    stem = re.sub(r"\.(ya?ml|env)$|[-_.]?modelfile$", "", path.name.lower())
    return re.sub(r"^(docker-)?compose[-_.]?|^modelfile[-_.]?|^\.?env[-_.]?", "", stem)
