"""Read the user's model folders that a roster names, as they are on this machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..util import json_file

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.facts import ModelConfig
    from roundhouse.schema.roster import WantedAgent, WantedModel


def configs(agents: object) -> dict[str, ModelConfig]:
    """Return the config.json of each folder that a roster names and this machine has, by the folder's path.

    An invalid roster or config.json is skipped, because other checks report it.
    """
    found = {}
    for name in (entry["model"] for entry in _entries(agents)):
        if (path := Path(name, "config.json")).is_file():
            try:
                config = json_file.read_foreign(path)
            except (OSError, ValueError):
                continue
            if isinstance(config, dict):
                found[name] = config
    return found


def stamp(folder: Path) -> str | None:
    """Return a hash that replaces the revision of a user's folder, of its weights' lengths and modification times.

    None if the folder has neither config.json nor weights.
    """
    parts = [path for path in sorted(folder.glob("*")) if path.name == "config.json" or path.suffix == ".safetensors"]
    if not parts:
        return None
    seen = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in parts]
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:40]


def stamps(agents: object) -> dict[str, str]:
    """Return the stamps of the folders with `quantize` in the roster that this machine has, by their path."""
    names = [entry["model"] for entry in _entries(agents) if entry.get("quantize")]
    return {name: found for name in names if (found := stamp(Path(name)))}


def with_stamps(agents: Iterable[WantedAgent], known: Mapping[str, str]) -> list[WantedAgent]:
    """Return the roster with the stamp of each folder with `quantize` as its revision."""
    return [{**agent, "models": [_with_stamp(entry, known) for entry in agent["models"]]} for agent in agents]


def _with_stamp(entry: WantedModel, known: Mapping[str, str]) -> WantedModel:
    is_stamped = entry.get("quantize") and entry["model"] in known
    return {**entry, "revision": known[entry["model"]]} if is_stamped else entry


def _entries(agents: object) -> list[dict[str, Any]]:
    """Return the entries of an unchecked roster that name a folder."""
    models = [agent.get("models") for agent in agents if isinstance(agent, dict)] if isinstance(agents, list) else []
    entries = [entry for each in models if isinstance(each, list) for entry in each if isinstance(entry, dict)]
    return [entry for entry in entries if str(entry.get("model")).startswith("/")]
