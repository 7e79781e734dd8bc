"""Keep what a hub states about a model before its weights are downloaded: models.known, beside models.lock.

    {"schema": 1, "known": {"owner/name@main": {"revision": HEX, "date": DAY, "config": {...}, "held": {...}}}}

`config` is the model's config.json and `held` the sums of its tensors (headers.py). The file answers offline. Ansible
does not read a file of that name as variables.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..catalog import hf_config
from ..catalog.architecture import Held, Model, Unknown
from ..util import files, lock_file
from ..util import lock as util_lock

if TYPE_CHECKING:
    from typing import TypeAlias

    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.facts import ModelConfig

NAME = "models.known"
_KIND = "known"
# A config.json with this field is one of the hub, with the sums of the checkpoint.
FIELD = "roundhouse_held"

Known: TypeAlias = "dict[str, dict[str, Any]]"


def read(path: Path) -> Known:
    """Return the entries by `lock.key`, {} without a file. Raises UsageError."""
    return {name: entry for name, entry in lock_file.read(path, _KIND).items() if isinstance(entry, dict)}


def configs(path: Path) -> dict[str, ModelConfig]:
    """Return the config.json of each known model by its owner/name, with the sums of its tensors."""
    found: dict[str, ModelConfig] = {}
    for name, entry in read(path).items():
        if isinstance(entry.get("config"), dict):
            found[name.rpartition("@")[0]] = {**entry["config"], FIELD: entry.get("held")}
    return found


def record(path: Path, key: str, entry: dict[str, Any]) -> None:
    """Add or replace the entry of a model by its `lock.key`."""
    with util_lock.exclusive(path.parent):
        entries = {**read(path), key: entry}
        files.write(path, lock_file.text(entries, _KIND))


def model(config: ModelConfig, name: str) -> Model | Unknown:
    """Return the model that a config.json describes, with the checkpoint's own bytes where its headers were read."""
    found = hf_config.parse(config, name)
    sums = held(config.get(FIELD))
    return found if isinstance(found, Unknown) or sums is None else found._replace(held=sums)


def held(stated: object) -> Held | None:
    """Return the sums of a checkpoint's tensors, None if they are not known or damaged."""
    if not isinstance(stated, dict):
        return None
    sums = {name: stated.get(name, 0) for name in Held._fields}
    return Held(**sums) if all(isinstance(size, int) and size >= 0 for size in sums.values()) else None
