"""models.lock beside the roster: the revision and the files of each model, for every host and every later run.

    {"schema": 1, "models": {"owner/name@main": {"revision": HEX, "files": {"config.json": "663 git-sha1:HEX", ...}}}}

It is group_vars/all/models.lock of the inventory, a name that Ansible does not read as variables. The first writer
wins: hosts that resolve a branch at the same moment get the same revision.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ..util import files, lock_file

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.facts import LockedModel, RequiredModel
    from roundhouse.schema.plan import Agent

_KIND = "models"

Locked: TypeAlias = "dict[str, LockedModel]"


def key(model: str, asked: str | None) -> str:
    """Return the name of an entry: a model as the roster names it."""
    return f"{model}@{asked or 'main'}"


def read(path: Path) -> Locked:
    """Return the locked models by `key`; nothing where there is no file. Raises UsageError."""
    models: Locked = lock_file.read(path, _KIND)
    try:
        for entry in models.values():
            entry["revision"], entry["files"].items()
    except (KeyError, TypeError, AttributeError) as error:
        raise lock_file.unreadable(path, error) from None
    return models


def apply(agents: object, path: Path) -> object:
    """Return a roster whose models have the revisions of the lock file; anything else is returned unchanged."""
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

    `files` is None, and `revision` the roster's own, for a model that is not locked yet. `serves` is false for one that
    is only the base of a result (quantized.py): it is not needed once the result exists.
    """
    # Of two names of one revision the first counts.
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
    """Add missing entries, with `relock` also those that differ; return all entries and the names of the changed."""
    with files.exclusive(path.parent):
        locked = read(path)
        changed = [name for name in found if name not in locked or (relock and locked[name] != found[name])]
        for name in changed:
            locked[name] = found[name]
        if changed and not check:
            files.write(path, text(locked))
    return locked, changed


def text(locked: Locked) -> str:
    """Return the content of the file."""
    return lock_file.text(locked, _KIND)
