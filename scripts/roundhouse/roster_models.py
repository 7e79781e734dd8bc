"""The models of a roster's agent as the fit wants them: from the catalog, or from a host folder's config.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import catalog, model_config
from .catalog import Model, Unknown
from .formats import ONLINE, members

# The config.json of each folder that a roster names, by its path, as they were read on the host.
Configs = Mapping[str, dict[str, Any]]


def own_configs(agents: Any) -> dict[str, dict[str, Any]]:
    """Return the config.json of each folder that a roster names and this machine has, by its path.

    What is no roster, or no JSON object, is left out: other checks have the sentence for it.
    """
    found = {}
    for agent in agents if isinstance(agents, list) else []:
        entries = agent.get("models") if isinstance(agent, dict) else None
        for entry in entries if isinstance(entries, list) else []:
            name = entry.get("model") if isinstance(entry, dict) else None
            if isinstance(name, str) and name.startswith("/") and (path := Path(name, "config.json")).is_file():
                try:
                    config = json.loads(path.read_text())
                except ValueError:
                    continue
                if isinstance(config, dict):
                    found[name] = config
    return found


def find(entry: dict[str, Any], configs: Configs) -> Model | Unknown:
    """Return the model of one entry of an agent's `models`, in the format that the engine will hold."""
    name, word = entry["model"], entry.get("quantization")
    if name.startswith("/"):
        config = configs.get(name)
        found = model_config.parse(config, name) if config else Unknown(name, f"{name} has no config.json here.")
    else:
        found = catalog.find(name) or Unknown(name, f"{name} is not in the catalog of models.")
    if isinstance(found, Model) and found.form.name == "bf16" and word in ONLINE:
        return catalog.in_format(name, found.architecture, ONLINE[word])
    return found


def problem(at: str, entry: dict[str, Any], found: Model | Unknown) -> str | None:
    """Return a sentence when the entry's `quantization` is not the checkpoint's, None when it is, or is not known."""
    word = entry.get("quantization")
    if word is None or isinstance(found, Unknown):
        return None
    held = found.form.name
    if word in ONLINE:
        # `find` has answered with what a 16-bit checkpoint becomes; anything else was quantised before.
        stated = catalog.find(entry["model"])
        fine = held == ONLINE[word] and (stated is None or stated.form.name == "bf16")
    else:
        fine = held in members(word)
    if fine:
        return None
    of_16_bit = f"write {next(iter(ONLINE))}, leave it out, or name a repository in that format"
    cure = of_16_bit if held == "bf16" else f"leave it out, or name a repository in {word}"
    return f"{at}.quantization is {word!r}, and {found.name} is {'16-bit' if held == 'bf16' else held}: {cure}."
