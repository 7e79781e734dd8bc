"""List the models that the deployed plan needs, as requests to pull them here or export them for another host."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import RoundhouseError
from . import download, manifest
from .folder_source import FolderSource
from .pull_job import PullRequest

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.facts import RequiredResult
    from roundhouse.schema.plan import Agent


def to_pull(agents: Iterable[Agent], place: Path, source: download.Source) -> list[PullRequest]:
    """Return the hub's models and draft models to pull; for a quantized model its base until the result exists.

    A folder may contain the result itself. No result is requested from the hub, because its name there may belong to
    another owner.
    """

    def is_available(agent: Agent, result: PullRequest) -> bool:
        if not agent.get("quantize"):
            return False
        return Path(agent["model_path"]).is_dir() or (isinstance(source, FolderSource) and has_model(source, result))

    return _requests(agents, place, is_available)


def to_export(agents: Iterable[Agent], place: Path) -> list[PullRequest]:
    """Return the models that the agents load: as they are in the store, or by the hub's name if they are missing."""
    return _requests(agents, place, lambda agent, result: Path(agent["model_path"]).is_dir())


def _requests(agents: Iterable[Agent], place: Path, takes: Callable[[Agent, PullRequest], bool]) -> list[PullRequest]:
    """Return each agent's model by its name in the store if `takes` is true, else by the hub's; and the drafts."""
    found: dict[PullRequest, None] = {}
    for agent in agents:
        stored = _in_store(place, agent["model_path"])
        if stored and takes(agent, stored):
            found[stored] = None
        elif not agent["model"].startswith("/"):
            found[PullRequest(agent["model"], agent.get("revision") or "main")] = None
        draft = agent.get("draft_model")
        if draft and not draft.startswith("/"):
            found[PullRequest(draft, agent.get("draft_revision") or "main")] = None
    return list(found)


def results(required: Iterable[RequiredResult]) -> list[PullRequest]:
    """Return requests that pull the required results (quantized.required_results) instead of quantizing them."""
    places = [Path(each["path"]) for each in required]
    return [PullRequest(str(Path(*place.parts[-3:-1])), place.name) for place in places]


def is_in(place: Path, request: PullRequest) -> bool:
    """Return true if a store has the requested model."""
    for folder in (place / request.model).glob("*"):
        found = manifest.read_or_error(folder)
        if isinstance(found, manifest.Manifest) and request.revision in (found.asked, folder.name):
            return True
    return False


def has_model(source: download.Source, request: PullRequest) -> bool:
    """Return true if a source has the requested model."""
    try:
        return bool(source.files(request.model, request.revision))
    except RoundhouseError:
        return False


def _in_store(place: Path, folder: str) -> PullRequest | None:
    path = Path(folder)
    if not path.is_relative_to(place) or len(path.relative_to(place).parts) != 3:
        return None
    return PullRequest(str(path.relative_to(place).parent), path.name)
