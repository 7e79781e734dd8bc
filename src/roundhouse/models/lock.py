"""Read and write models.lock beside the roster: each model's revision and files, for all hosts and later runs.

    {"schema": 1, "models": {"owner/name@main": {"revision": HEX, "files": {"config.json": "663 git-sha1:HEX", ...}}}}

The file is group_vars/all/models.lock of the inventory; Ansible does not read a file of that name as variables. The
first writer wins: hosts that resolve a branch at the same time get the same revision.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..util import files, lock_file
from ..util import lock as util_lock
from .manifest import COMMIT

if TYPE_CHECKING:
    from typing import TypeAlias

    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.facts import LockedModel, RequiredModel
    from roundhouse.schema.plan import Agent

_KIND = "models"

Locked: TypeAlias = "dict[str, LockedModel]"


def key(model: str, asked: str | None) -> str:
    """Return the key of an entry: the model and revision of the roster, such as owner/name@main."""
    return f"{model}@{asked or 'main'}"


def read(path: Path) -> Locked:
    """Return the locked models by `key`, {} without a file. Raises UsageError."""
    models: Locked = lock_file.read(path, _KIND)
    try:
        for name, entry in models.items():
            if not COMMIT.fullmatch(entry["revision"]):
                raise ValueError(f"revision {entry['revision']!r} of {name}")
            entry["files"].items()
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise lock_file.unreadable(path, error) from None
    return models


def apply(agents: object, path: Path) -> object:
    """Return the roster with the revisions of the lock file; an invalid roster is returned unchanged."""
    if not isinstance(agents, list):
        return agents
    locked = read(path)
    return [_with_revisions(agent, locked) for agent in agents]


def _with_revisions(agent: object, locked: Locked) -> object:
    if not isinstance(agent, dict) or not isinstance(agent.get("models"), list):
        return agent
    found = {**agent, "models": [_with_revision(choice, locked) for choice in agent["models"]]}
    if isinstance(agent.get("speculative_config"), dict):
        found["speculative_config"] = _with_revision(agent["speculative_config"], locked)
    return found


def _with_revision(choice: object, locked: Locked) -> object:
    if not isinstance(choice, dict):
        return choice
    found = locked.get(key(str(choice.get("model")), choice.get("revision")))
    return {**choice, "revision": found["revision"]} if found else choice


def required_models(agents: Sequence[Agent], path: Path) -> list[RequiredModel]:
    """Return the hub's models that planned agents name, each once.

    For a model that is not locked yet, `files` is None and `revision` is the roster's. `serves` is false for a model
    that is only the base of a quantized model (quantized.py), because it is not needed after quantization.
    """
    # If two entries name one revision, the first is used.
    locked = {
        (name.rpartition("@")[0], entry["revision"]): (name, entry) for name, entry in reversed(read(path).items())
    }
    named = [(agent["model"], agent["revision"], not agent.get("quantize")) for agent in agents]
    named += [(draft, agent["draft_revision"], True) for agent in agents if (draft := agent.get("draft_model"))]
    found: dict[tuple[str, str], RequiredModel] = {}
    for model, stated, serves in named:
        revision = stated or "main"
        if model.startswith("/"):
            continue
        name, entry = locked.get((model, revision), (None, None))
        before = found.get((model, revision))
        found[model, revision] = {
            "model": model,
            "revision": revision,
            "asked": name.rpartition("@")[2] if name else revision,
            "files": entry["files"] if entry else None,
            "serves": serves or bool(before and before["serves"]),
        }
    return list(found.values())


def record(path: Path, found: Locked, *, relock: bool = False, check: bool = False) -> tuple[Locked, list[str]]:
    """Add missing entries, with `relock` also changed ones; return all entries and the keys of the changed ones."""
    with util_lock.exclusive(path.parent):
        locked = read(path)
        changed = [name for name in found if name not in locked or (relock and locked[name] != found[name])]
        for name in changed:
            locked[name] = found[name]
        if changed and not check:
            files.write(path, text(locked))
    return locked, changed


def text(locked: Locked) -> str:
    """Return the content of the lock file."""
    return lock_file.text(locked, _KIND)
