"""The store: a folder with every pulled model under OWNER/NAME/REVISION.

A model's final name exists only when all of it is there and has been compared. Whoever works on a
repository holds its lock, which the kernel frees when the process dies (over NFS too, since Linux
2.6.12).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from . import manifest
from .errors import RoundhouseError
from .hub import COMMIT

PARTIAL = ".partial"
REMOVING = ".removing"
LOCK = ".lock"


class Held(NamedTuple):
    """A model of the store, or what is left of one: `manifest` is None for a leftover of a pull or a removal."""

    folder: Path
    model: str
    manifest: manifest.Manifest | None
    size_bytes: int


def folder(store: Path, model: str, revision: str) -> Path:
    """Return a model's folder."""
    return store / model / revision


def partial(store: Path, model: str, revision: str) -> Path:
    """Return the folder in which a model is put together."""
    return store / model / (revision + PARTIAL)


def held(store: Path) -> Iterator[Held]:
    """Yield what the store holds, by name."""
    for place in sorted(store.glob("*/*/*")):
        whole = COMMIT.fullmatch(place.name) is not None
        if place.is_dir() and (whole or place.name.endswith((PARTIAL, REMOVING))):
            size = sum(path.stat().st_size for path in place.iterdir() if path.is_file())
            yield Held(place, str(place.parent.relative_to(store)), manifest.read(place) if whole else None, size)


def manifests(store: Path, model: str) -> list[manifest.Manifest]:
    """Return the manifests of a model's revisions, the one verified last first."""
    places = [place for place in (store / model).glob("*") if COMMIT.fullmatch(place.name)]
    found = [held for place in places if (held := manifest.read(place))]
    return sorted(found, key=lambda held: held.verified_at or "", reverse=True)


def remove(place: Path) -> None:
    """Remove a folder: under another name first, so that a removal that was killed leaves no half model."""
    aside = place if place.name.endswith((PARTIAL, REMOVING)) else place.with_name(place.name + REMOVING)
    if aside != place:
        place.rename(aside)
    shutil.rmtree(aside)


def leftovers(repository: Path, wanted: str) -> list[Path]:
    """Return what earlier runs left of a repository beside the wanted revision. Ask with its lock held."""
    places = [place for place in repository.glob("*") if place.name.endswith((PARTIAL, REMOVING))]
    return [place for place in places if place.name != wanted + PARTIAL]


@contextmanager
def locked(store: Path, model: str, say: Callable[[str], None], stop: threading.Event) -> Iterator[None]:
    """Hold the lock of a repository; wait, and say for whom, while another process has it."""
    path = store / model / LOCK
    with _opened(path) as descriptor:
        waited = False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waited:
                    say(f"{model}: waiting for another run that works on it ({path.read_text().strip() or 'starting'})")
                waited = True
                if stop.wait(0.5):
                    raise RoundhouseError("interrupted", "interrupted.") from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"pid {os.getpid()} on {socket.gethostname()}".encode())
        yield


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        make_folder(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError as error:
        raise RoundhouseError(
            "store", f"{path} cannot be made ({error.strerror}): run this as root, or mend models_store."
        ) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, readable for the engines' user whatever root's umask."""
    for place in (*reversed(path.parents), path):
        if not place.exists():
            place.mkdir(exist_ok=True)
            place.chmod(0o755)


def free_bytes(store: Path) -> int:
    """Return the free space of the store's disk, also before the store is there."""
    return shutil.disk_usage(standing(store)).free


def standing(path: Path) -> Path:
    """Return the path, or the nearest folder above it that there is."""
    return next(place for place in (path, *path.parents) if place.exists())
