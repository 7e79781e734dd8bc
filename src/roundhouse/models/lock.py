"""The lock file beside the roster: which bytes a model's name means, for every host, today and next year.

    {"schema": 1, "models": {"owner/name@main": {"revision": HEX, "files": {"config.json": "663 git-sha1:HEX", ...}}}}

It stands in the inventory as group_vars/all/models.lock, a name that Ansible does not read as
variables. Who writes first wins: hosts that resolve a branch at the same moment get the same revision.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..util import files
from ..util import files as util_files

_KIND = "models"

Locked = dict[str, dict[str, Any]]


def key(model: str, asked: str | None) -> str:
    """Return the entry's name: a model as the roster asks for it."""
    return f"{model}@{asked or 'main'}"


def read(path: Path) -> Locked:
    """Return what is locked, by `key`; nothing where there is no file. Raises UsageError."""
    models: Locked = util_files.read(path, _KIND)
    try:
        for entry in models.values():
            entry["revision"], entry["files"].items()
    except (KeyError, TypeError, AttributeError) as error:
        raise util_files.unreadable(path, error) from None
    return models


def apply(agents: Any, path: Path) -> Any:
    """Return a roster whose models have the revisions of the lock file; what is no roster is returned as it is."""
    if not isinstance(agents, list):
        return agents
    locked = read(path)
    return [_with_revisions(agent, locked) for agent in agents]


def _with_revisions(agent: Any, locked: Locked) -> Any:
    models = agent.get("models") if isinstance(agent, dict) else None
    if not isinstance(models, list):
        return agent
    found = {**agent, "models": [_with_revision(choice, locked) for choice in models]}
    if isinstance(agent.get("speculative_config"), dict):
        found["speculative_config"] = _with_revision(agent["speculative_config"], locked)
    return found


def _with_revision(choice: Any, locked: Locked) -> Any:
    if not isinstance(choice, dict):
        return choice
    found = locked.get(key(str(choice.get("model")), choice.get("revision")))
    return {**choice, "revision": found["revision"]} if found else choice


def wishes(agents: list[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    """Return the hub's models that planned agents name, each once: {"model", "revision", "asked", "files", "serves"}.

    `files` is None, and `revision` what the roster says, for a model that is not locked yet. `serves` is false for one
    that is only the base of a result (quantized.py): it need not be there once that is.
    """
    locked = read(path)
    found: dict[tuple[str, str], dict[str, Any]] = {}
    named = [(agent["model"], agent["revision"], not agent.get("quantize")) for agent in agents]
    named += [(agent["draft_model"], agent["draft_revision"], True) for agent in agents if agent.get("draft_model")]
    for model, stated, serves in named:
        revision = stated or "main"
        if not model.startswith("/"):
            name, entry = _entry(locked, model, revision)
            asked = name.rpartition("@")[2] if name else revision
            files = entry["files"] if entry else None
            before = found.get((model, revision), {}).get("serves", False)
            wish = {"model": model, "revision": revision, "asked": asked, "files": files, "serves": serves or before}
            found[model, revision] = wish
    return list(found.values())


def _entry(locked: Locked, model: str, revision: str) -> tuple[str, dict[str, Any]] | tuple[None, None]:
    for name, entry in locked.items():
        if name.rpartition("@")[0] == model and entry["revision"] == revision:
            return name, entry
    return None, None


def record(path: Path, found: Locked, *, relock: bool = False, check: bool = False) -> tuple[Locked, list[str]]:
    """Add what is not locked yet (or, to relock, differs); return what is locked now and which entries changed."""
    with util_files.exclusive(path):
        locked = read(path)
        changed = [name for name in found if name not in locked or (relock and locked[name] != found[name])]
        for name in changed:
            locked[name] = found[name]
        if changed and not check:
            files.write(path, text(locked))
    return locked, changed


def text(locked: Locked) -> str:
    """Return what the file holds."""
    return util_files.text(locked, _KIND)
