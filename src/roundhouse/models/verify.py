"""Is what lies in the store what was pulled? Every byte is read and compared, without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import RoundhouseError
from ..util.progress import Progress
from . import manifest, safetensors, store

Wish = dict[str, Any]


def model(folder: Path, progress: Progress) -> list[str]:
    """Return a sentence for each thing that is wrong with a model's folder; none means that it is whole.

    What was found stands in the manifest: a damaged file is the one that the next pull fetches.
    """
    held = manifest.read(folder)
    if held is None:
        return [f"{folder} has no manifest, so nothing says what it should hold: {manifest.CURE}."]
    problems = []
    for file in held.files:
        if not held.is_good(folder, file, read=True):
            problems.append(
                f"{_wrong(folder / file.path, held.unreadable.get(file.path))}: roundhouse pull fetches it."
            )
        progress.came(file.size)
    problems += [f"{folder / name} is not the model's: take it away." for name in held.strangers(folder)]
    if not problems:
        problems += [f"{wrong}: the repository is not whole." for wrong in [safetensors.problem(folder)] if wrong]
    held.verified_at = None if problems else manifest.now()
    try:
        held.write(folder)
    except OSError as error:
        # A store that is mounted read-only can be verified all the same.
        progress.note(f"{folder}: the result is not kept ({error.strerror}).")
    return problems


def _wrong(path: Path, unreadable: str | None) -> str:
    if unreadable:
        return f"{path} cannot be read ({unreadable}), see to its disk"
    return f"{path} is {'damaged' if path.is_file() else 'missing'}"


def to_pull(place: Path, wishes: list[Wish], to_make: list[Wish]) -> list[Wish]:
    """Return the wishes (of `models_lock.wishes`) that are not in the store as they were verified; reads no content."""
    wanted = needed(wishes, to_make)
    return [wish for wish in wanted if not _is_as_it_was(store.folder(place, wish["model"], wish["revision"]), wish)]


def needed(wishes: list[Wish], to_make: list[Wish]) -> list[Wish]:
    """Leave out the bases whose results are there: `to_make` are the results (of `quantized.wishes`) that are not."""
    bases = [(result["model"], result["revision"] or "main") for result in to_make]
    return [wish for wish in wishes if wish["serves"] or (wish["model"], wish["revision"]) in bases]


def _is_as_it_was(folder: Path, wish: dict[str, Any]) -> bool:
    held = manifest.read(folder)
    if held is None or (wish["files"] is not None and manifest.as_json(held.files) != wish["files"]):
        return False
    return all(held.is_known_good(folder, file) for file in held.files)


def all_of(place: Path, names: list[tuple[str, str | None]], progress: Progress) -> list[dict[str, Any]]:
    """Verify the models of those names, each of one revision or of all (None); without names, everything.

    Returns one {"model", "revision", "problems"} each. Raises RoundhouseError where there is nothing to verify.
    """
    whole = [held for held in store.held(place) if held.manifest or held.problem]
    for name, asked in names:
        if not any(_is_asked(held, name, asked) for held in whole):
            named = f"{name}@{asked}" if asked else name
            raise RoundhouseError("verify", f"{named} is not in {place}: roundhouse models lists what is.")
    found = [held for held in whole if not names or any(_is_asked(held, *name) for name in names)]
    if not found:
        raise RoundhouseError("verify", f"{place} holds no models, so there is nothing to verify: see --store.")
    progress.expect(sum(held.size_bytes for held in found))
    return [
        {
            "model": held.model,
            "revision": held.folder.name,
            "problems": [held.problem] if held.problem else model(held.folder, progress),
        }
        for held in found
    ]


def _is_asked(held: store.Held, name: str, asked: str | None) -> bool:
    known = (held.folder.name, held.manifest.asked if held.manifest else None)
    return held.model == name and (asked is None or asked in known)
