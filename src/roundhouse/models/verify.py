"""Verify the store: read every byte and compare it with the manifests, without a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from ..errors import RoundhouseError
from ..util.progress import Progress
from . import manifest, safetensors, store

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.facts import RequiredModel, RequiredResult


class VerifiedModel(TypedDict):
    """A row of `verify_all`."""

    model: str
    revision: str
    problems: list[str]  # sentences; []: complete


def problems(folder: Path, progress: Progress) -> list[str]:
    """Return a sentence for each problem of a model's folder, [] if it is complete.

    The result is stored in the manifest, so that the next pull fetches only damaged files.
    """
    held = manifest.read(folder)
    if held is None:
        return [f"{folder} has no manifest. {manifest.REMEDY}"]
    found = []
    for file in held.files:
        if not held.is_good(folder, file, read=True):
            found.append(f"{_state(folder / file.path, held.unreadable.get(file.path))}: roundhouse pull fetches it.")
        progress.came(file.size)
    found += [f"{folder / name} is not a file of the model: remove it." for name in held.unknown_files(folder)]
    if not found and (problem := safetensors.problem(folder)):
        found.append(f"{problem}: the repository is incomplete.")
    held.verified_at = None if found else manifest.now()
    try:
        held.write(folder)
    except OSError as error:
        # A store that is mounted read-only can still be verified.
        progress.note(f"{folder}: the result was not saved ({error.strerror}).")
    return found


def _state(path: Path, unreadable: str | None) -> str:
    if unreadable:
        return f"{path} cannot be read ({unreadable}); check its disk"
    return f"{path} is {'damaged' if path.is_file() else 'missing'}"


def to_pull(place: Path, required: Sequence[RequiredModel], to_make: Sequence[RequiredResult]) -> list[RequiredModel]:
    """Return the required models that are missing or have changed since they were verified; reads no content."""
    return [
        model
        for model in needed(required, to_make)
        if not _is_unchanged(store.folder(place, model["model"], model["revision"]), model)
    ]


def needed(required: Sequence[RequiredModel], to_make: Sequence[RequiredResult]) -> list[RequiredModel]:
    """Return the required models without the bases of existing quantized models; `to_make` are the missing ones."""
    bases = [(result["model"], result["revision"] or "main") for result in to_make]
    return [model for model in required if model["serves"] or (model["model"], model["revision"]) in bases]


def _is_unchanged(folder: Path, required: RequiredModel) -> bool:
    held = manifest.read(folder)
    if held is None or (required["files"] is not None and manifest.as_json(held.files) != required["files"]):
        return False
    return held.is_unchanged(folder)


def verify_all(place: Path, names: list[tuple[str, str | None]], progress: Progress) -> list[VerifiedModel]:
    """Verify the named models, each in one revision or in all (None); without names, all models of the store.

    Raises RoundhouseError if there is nothing to verify.
    """
    complete = [stored for stored in store.stored_models(place) if stored.manifest or stored.problem]
    for name, asked in names:
        if not any(_is_named(stored, name, asked) for stored in complete):
            raise RoundhouseError(
                "model_not_in_store",
                "{model} is not in {store}.",
                "List the models with `roundhouse models`.",
                model=f"{name}@{asked}" if asked else name,
                store=str(place),
            )
    found = [stored for stored in complete if not names or any(_is_named(stored, *name) for name in names)]
    if not found:
        raise RoundhouseError(
            "store_empty", "{store} has no models to verify.", "Name another store with --store.", store=str(place)
        )
    read = [file.size for stored in found if stored.manifest for file in stored.manifest.files]
    progress.expect(sum(read))
    return [
        VerifiedModel(
            model=stored.model,
            revision=stored.folder.name,
            problems=[stored.problem] if stored.problem else problems(stored.folder, progress),
        )
        for stored in found
    ]


def _is_named(stored: store.StoredModel, name: str, asked: str | None) -> bool:
    known = (stored.folder.name, stored.manifest.asked if stored.manifest else None)
    return stored.model == name and (asked is None or asked in known)
