"""Find and remove the models of the store that neither a plan nor a rollback needs."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..errors import RoundhouseError, UsageError
from ..schema.plan import Agent
from . import store

# Plans that a play is about to deploy; their models are pulled first.
STAGED = Path("/var/lib/roundhouse/staged")


def paths_of_plans(deployed: Path, earlier: Path | None = None, staged: Path = STAGED) -> dict[str, list[str]]:
    """Return the agents by the model folder they use, resolved, including draft models. Raises UsageError.

    `deployed` contains plan.json, `earlier` the plans for a rollback, `staged` the plans of a running deployment.
    """
    users: dict[str, list[str]] = {}
    before = sorted(earlier.glob("*/plan.json")) if earlier else []
    for path in (*deployed.glob("plan.json"), *staged.glob("*/plan.json"), *before):
        try:
            agents: list[Agent] = json.loads(path.read_text())["agents"]
            named = [(agent["name"], agent["model_path"]) for agent in agents]
            named += [(agent["name"], draft) for agent in agents if (draft := agent.get("draft_model_path"))]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                "plan_unreadable",
                "{path} cannot be read ({reason}), so no model was removed.",
                "Restore that file, or deploy again with `ansible-playbook site.yml`.",
                path=str(path),
                reason=str(error),
            ) from None
        for agent, model_path in named:
            name = agent if path not in before else f"{agent} (rollback)"
            agents_there = users.setdefault(str(Path(model_path).resolve()), [])
            if not {agent, name} & set(agents_there):
                agents_there.append(name)
    return users


def unused(place: Path, users: dict[str, list[str]], *, keep_earlier: bool) -> list[store.StoredModel]:
    """Return the unused models. With `keep_earlier`, a planned model keeps its previously verified revision.

    A model without a readable manifest is not returned, because the user must decide.
    """
    found = list(store.stored_models(place))
    used = {each.folder for each in found if str(each.folder.resolve()) in users}
    for name in {each.model for each in found if each.folder in used}:
        earlier = [each for each in found if each.model == name and each.manifest and each.folder not in used]
        if earlier and keep_earlier:
            used.add(max(earlier, key=_verified_at).folder)
    return [each for each in found if each.folder not in used and not each.problem]


def remove(
    place: Path,
    models: list[store.StoredModel],
    unused_now: Callable[[], list[store.StoredModel]],
    say: Callable[[str], None],
) -> list[store.StoredModel]:
    """Remove the models that are still unused, each under its repository's lock, and return them.

    A plan may have changed since the models were listed. A model that a pull holds is kept: its plan may come later.
    """
    removed = []
    for each in models:
        held = threading.Event()
        try:
            with store.locked(place, each.model, partial(_note, held), held):
                if (each.folder, _verified_at(each)) in [(now.folder, _verified_at(now)) for now in unused_now()]:
                    store.remove(each.folder)
                    removed.append(each)
                    continue
        except RoundhouseError as error:
            if error.code != "interrupted" or not held.is_set():
                raise
        say(f"{each.folder} is kept: a plan or a pull uses it now")
    return removed


def _note(held: threading.Event, text: str) -> None:
    """End the wait for a lock that another process holds."""
    held.set()


def _verified_at(stored: store.StoredModel) -> str:
    return (stored.manifest.verified_at if stored.manifest else None) or ""
