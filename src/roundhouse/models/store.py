"""Manage the store, a folder with every pulled model under OWNER/NAME/REVISION.

A model gets its final name only after it is complete and verified. A process that changes a repository holds its lock.
The kernel releases the lock when the process dies (over NFS too, since Linux 2.6.12).
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ..errors import RoundhouseError, interrupted
from ..util.files import sync
from ..util.units import GIB
from . import manifest as models_manifest
from . import store_layout
from .manifest import COMMIT

PARTIAL = ".partial"
REMOVING = ".removing"
LOCK = ".lock"
DISK_CODES = ("disk_full", "store_write_failed")  # the errors of writing()
_FULL = (errno.ENOSPC, errno.EDQUOT)
# Of the disk itself: another account or folder would not help.
_DISK_ERRORS = (*_FULL, errno.EIO, errno.EROFS)
# A model's owner or name, and a revision. It becomes the name of a folder.
_PART = re.compile(r"\w[\w.-]*")


class StoredModel(NamedTuple):
    """A model of the store, or a leftover of a pull or a removal, which has no manifest.

    `problem` is a sentence about a model whose manifest is missing or cannot be read.
    """

    folder: Path
    model: str
    manifest: models_manifest.Manifest | None
    size_bytes: int
    problem: str | None = None


def folder(store: Path, model: str, revision: str) -> Path:
    """Return a model's folder. Raises RoundhouseError for a model or revision that names a path outside."""
    return store_layout.existing(repository(store, model) / _checked(model, revision))


def partial(store: Path, model: str, revision: str) -> Path:
    """Return the folder that holds a model until it is complete. Raises RoundhouseError as `folder` does."""
    return repository(store, model) / (_checked(model, revision) + PARTIAL)


def repository(store: Path, model: str) -> Path:
    """Return the folder of a model's revisions. Raises RoundhouseError for a name that is not owner/name."""
    owner, _, name = model.partition("/")
    if not _PART.fullmatch(owner) or not _PART.fullmatch(name):
        text, remedy = "{model!r} is not the name of a model.", "Write owner/name."
        raise RoundhouseError("model_name_invalid", text, remedy, model=model)
    return store / model


def _checked(model: str, revision: str) -> str:
    if not _PART.fullmatch(revision):
        text, remedy = "{revision!r} is not a revision of {model}.", "Name a branch, a tag or a commit."
        raise RoundhouseError("revision_invalid", text, remedy, revision=revision, model=model)
    return revision


def shortage(place: str, free_bytes: int, needs: Mapping[str, int], *, models: bool = True) -> str | None:
    """Return a sentence if the sum of `needs` (bytes by name) exceeds the free space, None otherwise.

    `models` is true if a model is among them: then the sentence also suggests another disk for the store.
    """
    needed = sum(needs.values())
    if needed <= free_bytes:
        return None
    parts = ", ".join(f"{what} {size / GIB:.2f}" for what, size in needs.items() if size > 0)
    remedy = " (roundhouse prune), or set models_store to another disk" if models else ""
    return (
        f"{place} has {free_bytes / GIB:.2f} GiB free but needs {needed / GIB:.2f} GiB ({parts}). "
        f"Free {(needed - free_bytes) / GIB:.2f} GiB there{remedy}."
    )


def stored_models(store: Path) -> Iterator[StoredModel]:
    """Yield the models and leftovers of the store, by name."""
    for place in sorted(store.glob("*/*/*")):
        complete = COMMIT.fullmatch(place.name) is not None
        if not place.is_dir() or store_layout.is_link(place.parents[1]):
            continue
        if complete or place.name.endswith((PARTIAL, REMOVING)):
            size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
            read, problem = None, None
            if complete:
                read, problem = _read(place)
            yield StoredModel(place, str(place.parent.relative_to(store)), read, size, problem)


def _read(place: Path) -> tuple[models_manifest.Manifest | None, str | None]:
    """Return a folder's manifest, or the problem with it."""
    found = models_manifest.read_in_store(place)
    if isinstance(found, RoundhouseError):
        return None, found.message
    return found, None if found else f"{place} has no manifest. {models_manifest.REMEDY}"


def manifests(store: Path, model: str) -> list[models_manifest.Manifest]:
    """Return the manifests of a model's revisions, the last verified first.

    Raises RoundhouseError if there are manifests but none can be read.
    """
    folders = store_layout.existing(repository(store, model) / "*").parent.glob("*")
    places = [place for place in sorted(folders) if COMMIT.fullmatch(place.name)]
    found = [each for place in places if (each := models_manifest.read_in_store(place))]
    readable = [each for each in found if isinstance(each, models_manifest.Manifest)]
    if found and not readable and isinstance(found[0], RoundhouseError):
        raise found[0]
    return sorted(readable, key=lambda each: each.verified_at or "", reverse=True)


def publish(work: Path, final: Path, held: models_manifest.Manifest) -> None:
    """Give a verified folder its manifest and its final name, synced to disk and readable for all users."""
    held.verified_at = models_manifest.now()
    held.write(work)
    for path in work.iterdir():
        path.chmod(0o644)
        sync(path)
    work.chmod(0o755)
    sync(work)
    if final.exists():
        remove(final)
    work.rename(final)
    sync(final.parent)


def remove(place: Path) -> None:
    """Remove a folder. It is renamed first, so that a killed removal leaves no incomplete model."""
    aside = place if place.name.endswith((PARTIAL, REMOVING)) else place.with_name(place.name + REMOVING)
    if aside != place:
        place.rename(aside)
    shutil.rmtree(aside)


def leftovers(repository: Path, wanted: set[str], asked: set[str]) -> list[Path]:
    """Return the folders that earlier runs left in a repository and no run will resume. The caller holds the lock.

    A partial revision is a leftover if its branch (one of `asked`) now resolves to one of the `wanted` revisions. A
    revision that was requested by its commit is kept.
    """
    return [place for place in repository.glob("*") if place.name.endswith(REMOVING) or _is_left(place, wanted, asked)]


def _is_left(place: Path, wanted: set[str], asked: set[str]) -> bool:
    revision = place.name.removesuffix(PARTIAL)
    if revision == place.name or revision in wanted or not COMMIT.fullmatch(revision):
        return False
    found = models_manifest.read_or_error(place)
    return not isinstance(found, models_manifest.Manifest) or found.asked in asked


@contextmanager
def locked(store: Path, model: str, say: Callable[[str], None], stop: threading.Event) -> Iterator[None]:
    """Hold the lock of a repository. If another process holds it, report that process and wait."""
    path = store / model / LOCK
    with _opened(path) as descriptor:
        waited = False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waited:
                    say(f"{model}: waiting for another run ({path.read_text().strip() or 'starting'})")
                waited = True
                if stop.wait(0.5):
                    raise interrupted() from None
            except OSError as error:  # for example an NFS mount with nolock
                raise RoundhouseError(
                    "store_lock_unsupported",
                    "{path} cannot be locked ({reason}).",
                    "Mount the store's disk with locking enabled.",
                    path=str(path),
                    reason=error.strerror,
                ) from None
        with writing(path):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"pid {os.getpid()} on {socket.gethostname()}".encode())
        yield


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        make_folder(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        if error.errno in _DISK_ERRORS:
            raise _disk_error(path, error) from None
        raise RoundhouseError(
            "store_not_writable",
            "{path} cannot be created ({reason}).",
            "Run the command as root, or correct models_store.",
            path=str(path),
            reason=error.strerror,
        ) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Convert an error of the store's disk into a RoundhouseError that names the path."""
    try:
        yield
    except OSError as error:
        raise _disk_error(path, error) from None


def _disk_error(path: Path, error: OSError) -> RoundhouseError:
    return RoundhouseError(
        DISK_CODES[0] if error.errno in _FULL else DISK_CODES[1],
        "{path} cannot be written: {reason}.",
        "Check the store's disk; downloaded bytes are kept.",
        path=str(path),
        reason=error.strerror,
    )


def make_folder(path: Path) -> None:
    """Create a folder and its missing parents with mode 0755, regardless of the umask.

    Unlike util.files.make_folder it leaves no temporary folder if it is killed. Each name is synced to disk.
    """
    for place in (*reversed(path.parents), path):
        if not place.exists():
            place.mkdir(exist_ok=True)
            place.chmod(0o755)
            sync(place.parent)


def free_bytes(store: Path) -> int:
    """Return the free bytes of the store's disk, also before the store exists."""
    return shutil.disk_usage(nearest_existing(store)).free


def nearest_existing(path: Path) -> Path:
    """Return the path, or its nearest parent that exists."""
    return next(place for place in (path, *path.parents) if place.exists())
