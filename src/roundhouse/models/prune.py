"""What of the store nobody needs: no plan, and no way back to what a plan named before."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import UsageError
from . import store

# What a play is about to deploy: its models are there before it is the plan in place.
STAGED = Path("/var/lib/roundhouse/staged")


def paths_of_plans(deployed: Path, earlier: Path | None = None, staged: Path = STAGED) -> dict[str, list[str]]:
    """Return which agents use which folder (resolved; drafts too): those of plan.json in the one folder, of each plan
    that a rollback may go back to in the other, and of those that are staged. Raises UsageError.
    """
    users: dict[str, list[str]] = {}
    before = sorted(earlier.glob("*/plan.json")) if earlier else []
    for path in (*deployed.glob("plan.json"), *staged.glob("*/plan.json"), *before):
        try:
            agents: list[dict[str, Any]] = json.loads(path.read_text())["agents"]
            named = [(agent["name"], agent["model_path"]) for agent in agents]
            named += [(agent["name"], agent["draft_model_path"]) for agent in agents if agent.get("draft_model_path")]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError("prune", f"{path} cannot be read ({error}): nothing is removed without it.") from None
        for agent, model_path in named:
            name = agent if path not in before else f"{agent} (rollback)"
            agents_there = users.setdefault(str(Path(model_path).resolve()), [])
            if not {agent, name} & set(agents_there):
                agents_there.append(name)
    return users


def needless(place: Path, users: dict[str, list[str]], *, keep_earlier: bool) -> list[store.Held]:
    """Return what may go. Of a model that a plan names, the revision verified last before is kept for the way back.

    What is no longer told by its manifest is kept: a person looks at it first.
    """
    found = list(store.held(place))
    wanted = {held.folder for held in found if str(held.folder.resolve()) in users}
    for name in {held.model for held in found if held.folder in wanted}:
        earlier = [held for held in found if held.model == name and held.manifest and held.folder not in wanted]
        if earlier and keep_earlier:
            wanted.add(max(earlier, key=_verified_at).folder)
    return [held for held in found if held.folder not in wanted and not held.problem]


def remove(place: Path, going: list[store.Held], say: Callable[[str], None]) -> None:
    """Remove them, each under its repository's lock, and the folders that are empty then."""
    for held in going:
        with store.locked(place, held.model, say, threading.Event()):
            if held.folder.exists():
                store.remove(held.folder)


def _verified_at(held: store.Held) -> str:
    return (held.manifest.verified_at if held.manifest else None) or ""
