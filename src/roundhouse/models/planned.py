"""Which models the deployed plan names, as wishes: to pull onto this host, or to export for another one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import RoundhouseError
from . import download, manifest, quantized
from .folder_source import FolderSource
from .pull_job import Wish

Agent = dict[str, Any]


def to_pull(agents: Iterable[Agent], place: Path, source: download.Source) -> list[Wish]:
    """Return the hub's models and drafts, and of a quantized model the base until its result is there.

    A folder may hold the result itself. No hub is asked for it: what it has under that name is another's.
    """
    found: dict[Wish, None] = {}
    for agent in agents:
        result = _in_store(place, agent["model_path"]) if agent.get("quantize") else None
        offered = isinstance(source, FolderSource) and result is not None and is_offered(source, result)
        if result and (offered or Path(agent["model_path"]).is_dir()):
            found[result] = None
        elif not agent["model"].startswith("/"):
            found[Wish(agent["model"], agent.get("revision") or "main")] = None
        if draft := _draft(agent):
            found[draft] = None
    return list(found)


def to_export(agents: Iterable[Agent], place: Path) -> list[Wish]:
    """Return what the agents load, as it lies in the store; the hub's name of what does not."""
    found: dict[Wish, None] = {}
    for agent in agents:
        held = _in_store(place, agent["model_path"])
        if held and Path(agent["model_path"]).is_dir():
            found[held] = None
        elif not agent["model"].startswith("/"):
            found[Wish(agent["model"], agent.get("revision") or "main")] = None
        if draft := _draft(agent):
            found[draft] = None
    return list(found)


def results(asked: Iterable[quantized.Wish]) -> list[Wish]:
    """Return results that are to be made (quantized.wishes) as what may be pulled instead."""
    places = [Path(each["path"]) for each in asked]
    return [Wish(str(Path(*place.parts[-3:-1])), place.name) for place in places]


def is_in(place: Path, wish: Wish) -> bool:
    """Return whether a store holds the wish."""
    for folder in (place / wish.model).glob("*"):
        held = manifest.look(folder)
        if isinstance(held, manifest.Manifest) and wish.revision in (held.asked, folder.name):
            return True
    return False


def is_offered(source: download.Source, wish: Wish) -> bool:
    """Return whether a folder, or another host's store, holds a result."""
    try:
        return bool(source.files(wish.model, wish.revision))
    except RoundhouseError:  # it says that it does not
        return False


def _draft(agent: Agent) -> Wish | None:
    name = agent.get("draft_model")
    return Wish(name, agent.get("draft_revision") or "main") if name and not name.startswith("/") else None


def _in_store(place: Path, folder: str) -> Wish | None:
    path = Path(folder)
    if not path.is_relative_to(place) or len(path.relative_to(place).parts) != 3:
        return None
    return Wish(str(path.relative_to(place).parent), path.name)
