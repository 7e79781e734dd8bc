"""Is there room? One sentence with what is free, what is still to come and the path, before anything is brought.

The store: a folder with every pulled model under OWNER/NAME/REVISION.

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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ..errors import RoundhouseError
from ..util.progress import GIB
from . import manifest as models_manifest
from .hub import COMMIT


def shortage(place: str, free_bytes: int, needs: Mapping[str, int], *, models: bool = True) -> str | None:
    """Return the sentence when less is free than all of `needs` take together, None when there is room.

    `models` says whether a model is among them, so that another disk for those would help.
    """
    needed = sum(needs.values())
    if needed <= free_bytes:
        return None
    parts = ", ".join(f"{what} {size / GIB:.2f}" for what, size in needs.items() if size > 0)
    cure = " (roundhouse prune), or set models_store to another disk" if models else ""
    return (
        f"{place} has {free_bytes / GIB:.2f} GiB free and {needed / GIB:.2f} GiB are still to come ({parts}): "
        f"free {(needed - free_bytes) / GIB:.2f} GiB there{cure}."
    )


PARTIAL = ".partial"
REMOVING = ".removing"
LOCK = ".lock"


class Held(NamedTuple):
    """A model of the store, or what is left of one: `manifest` is None for a leftover of a pull or a removal.

    `problem` is a sentence about a model whose manifest is missing or cannot be read.
    """

    folder: Path
    model: str
    manifest: models_manifest.Manifest | None
    size_bytes: int
    problem: str | None = None


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
            size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
            found = (
                (models_manifest.look(place) or f"{place} has no manifest: {models_manifest.CURE}.") if whole else None
            )
            read, problem = (None, found) if isinstance(found, str) else (found, None)
            yield Held(place, str(place.parent.relative_to(store)), read, size, problem)


def manifests(store: Path, model: str) -> list[models_manifest.Manifest]:
    """Return the manifests of a model's revisions, the one verified last first.

    Raises RoundhouseError when there are some and none of them can be read.
    """
    places = [place for place in sorted((store / model).glob("*")) if COMMIT.fullmatch(place.name)]
    found = [held for place in places if (held := models_manifest.look(place))]
    good = [held for held in found if not isinstance(held, str)]
    if found and not good:
        raise RoundhouseError("store", str(found[0]))
    return sorted(good, key=lambda held: held.verified_at or "", reverse=True)


def remove(place: Path) -> None:
    """Remove a folder: under another name first, so that a removal that was killed leaves no half model."""
    aside = place if place.name.endswith((PARTIAL, REMOVING)) else place.with_name(place.name + REMOVING)
    if aside != place:
        place.rename(aside)
    shutil.rmtree(aside)


def leftovers(repository: Path, wanted: set[str], asked: set[str]) -> list[Path]:
    """Return what earlier runs left of a repository and nobody goes on with. Ask with its lock held.

    What was asked for under a name that now means one of the `wanted` revisions is left for good; another revision's
    under a name of its own belongs to who asked for that.
    """
    return [place for place in repository.glob("*") if place.name.endswith(REMOVING) or _is_left(place, wanted, asked)]


def _is_left(place: Path, wanted: set[str], asked: set[str]) -> bool:
    revision = place.name.removesuffix(PARTIAL)
    if revision == place.name or revision in wanted or not COMMIT.fullmatch(revision):
        return False
    found = models_manifest.look(place)
    return isinstance(found, str) or found is None or found.asked in asked


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
            except OSError as error:  # NFS that is mounted with nolock, for one
                raise RoundhouseError(
                    "store", f"{path} cannot be locked ({error.strerror}): mount the store's disk with locks."
                ) from None
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


def sync(path: Path) -> None:
    """Let a file, or the names in a folder, reach the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def free_bytes(store: Path) -> int:
    """Return the free space of the store's disk, also before the store is there."""
    return shutil.disk_usage(standing(store)).free


def standing(path: Path) -> Path:
    """Return the path, or the nearest folder above it that there is."""
    return next(place for place in (path, *path.parents) if place.exists())
