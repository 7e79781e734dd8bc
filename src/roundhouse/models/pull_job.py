"""Pull one model into a store: find missing files, remove leftovers, rename the folder, and record a failure.

A failed pull is recorded beside the model until a pull succeeds. Ansible keeps no result of a failed module, and a pull
by hand reports only to its terminal.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ..errors import RoundhouseError
from ..util import json_file, lock
from ..util.files import sync
from . import manifest, safetensors, store
from .download import PART
from .manifest import File
from .store import LOCK

RECORD = ".pull.json"
_ERROR_CHARACTERS = 1000


class PullRequest(NamedTuple):
    """A model to pull. `files` comes from the lock file; None queries the source."""

    model: str
    revision: str  # 40-hex, or a branch that the source resolves
    asked: str = "main"
    files: list[File] | None = None


class PullJob:
    """Pull one model."""

    def __init__(self, request: PullRequest, revision: str, files: list[File], place: Path, source: str) -> None:
        if not manifest.COMMIT.fullmatch(revision):
            text, remedy = "{revision!r} of {model} on {source} is not a commit.", "Name another source."
            raise RoundhouseError(
                "revision_not_commit", text, remedy, revision=revision, model=request.model, source=source
            )
        self.model, self.revision, self.files = request.model, revision, files
        self.final = store.folder(place, request.model, revision)
        self.partial = store.partial(place, request.model, revision)
        self.source = source
        self.asked = request.asked
        self.lock = threading.Lock()
        self.missing: list[File] = []

    def find_missing(self) -> None:
        """Find the missing files, and remove unrelated files that a killed run left."""
        self.complete = self._manifest(self.final)
        self.unfinished = self._manifest(self.partial)
        if self.partial.exists():
            with store.writing(self.partial):
                self._remove_unrelated()
        before = dict(self.complete.stamps)
        self.missing = [file for file in self.files if not self._is_here(file)]
        # Files copied from another disk have new times. They are recorded, so that the files are read only once.
        if self.final.is_dir() and not self.missing and before != self.complete.stamps:
            with store.writing(self.final):
                self.complete.write(self.final)

    def _remove_unrelated(self) -> None:
        names = {file.path for file in self.files}
        for path in self.partial.iterdir():
            if path.name.removesuffix(PART) in names or path.name == manifest.NAME:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def needed_bytes(self) -> int:
        """Return the bytes of disk that the missing files still need."""
        return sum(file.size for file in self.missing) - self.partial_bytes()

    def partial_bytes(self) -> int:
        """Return the bytes of the missing files that an earlier run downloaded."""
        parts = [self.partial / (file.path + PART) for file in self.missing]
        return sum(part.stat().st_size for part in parts if part.exists())

    def is_done(self) -> bool:
        """Return true if the model is complete under its final name."""
        return self.final.is_dir() and not self.missing and not self.partial.exists()

    def begin(self) -> None:
        """Create the partial folder with a manifest, from which a run for another revision knows its branch."""
        if not self.is_done():
            store.make_folder(self.partial)
            self.unfinished.write(self.partial)

    def received(self, file: File, sha256: str) -> None:
        """Record a downloaded file, so that a later run does not hash it again."""
        with self.lock:
            self.unfinished.record(self.partial, file, sha256)
            self.unfinished.write(self.partial)
            self.missing.remove(file)

    def finish(self) -> None:
        """Move the model, or its replaced files, to the final folder. Raises RoundhouseError."""
        if self.final.is_dir():
            self._replace_damaged()
            return
        if problem := safetensors.problem(self.partial):
            raise RoundhouseError(
                "model_incomplete",
                "{model} is incomplete on {source}: {problem}.",
                "Name a different model or source.",
                model=self.model,
                source=self.source,
                problem=problem,
            )
        store.publish(self.partial, self.final, self.unfinished)

    def _replace_damaged(self) -> None:
        for file in self.files:
            arrived = self.partial / file.path
            if arrived.exists():
                arrived.chmod(0o644)
                arrived.rename(self.final / file.path)
                self.complete.sha256[file.path] = self.unfinished.sha256[file.path]
                self.complete.stamps[file.path] = self.unfinished.stamps[file.path]
        self.complete.files = self.files
        self.complete.write(self.final)
        sync(self.final)
        if self.partial.exists():
            store.remove(self.partial)

    def _is_here(self, file: File) -> bool:
        return self.complete.is_good(self.final, file) or self.unfinished.is_good(self.partial, file)

    def _manifest(self, folder: Path) -> manifest.Manifest:
        found = manifest.read(folder)
        if found and found.files == self.files:
            return found
        made = manifest.Manifest(self.model, self.revision, self.files, asked=self.asked, source=self.source)
        if found:  # the list of files has changed: keep the hashes of unchanged files
            known = {file.path for file in self.files if file in found.files}
            made.sha256 = {path: value for path, value in found.sha256.items() if path in known}
            made.stamps = {path: value for path, value in found.stamps.items() if path in known}
        return made


def missing_bytes(place: Path, model: str, revision: str, files: list[File]) -> int:
    """Return the bytes of disk that a model still needs in the store, by the files' lengths; reads no content."""
    final, partial = store.folder(place, model, revision), store.partial(place, model, revision)
    missing = 0
    for file in files:
        there = (final / file.path, partial / file.path, partial / (file.path + PART))
        missing += file.size - max((path.stat().st_size for path in there if path.exists()), default=0)
    return max(missing, 0)


def remove_leftovers(place: Path, jobs: list[PullJob]) -> None:
    """Remove leftovers of killed runs of the jobs' models that no run will resume. The caller holds their locks."""
    for model in {job.model for job in jobs}:
        own = [job for job in jobs if job.model == model]
        for left in store.leftovers(place / model, {job.revision for job in own}, {job.asked for job in own}):
            with store.writing(left):
                store.remove(left)


class FailedPull(NamedTuple):
    """A pull that did not complete. `error` ends with its [code]; None if the pull was killed."""

    model: str
    began: float  # seconds since the epoch
    error: str | None


@contextlib.contextmanager
def recorded(place: Path, models: Collection[str], errors: Mapping[str, list[RoundhouseError]]) -> Iterator[None]:
    """Record the start of a pull of these models, and their `errors` if it fails. The caller holds their locks."""
    began = time.time()
    for model in models:
        _record(place, model, began, ())
    try:
        yield
    except RoundhouseError as error:
        if error.code != "interrupted":
            for model in models:
                # An error that belongs to no model is recorded for all.
                if own := errors.get(model, []) if errors else [error]:
                    _record(place, model, began, own)
                else:
                    with contextlib.suppress(OSError):  # the next pull of this model removes it
                        (place / model / RECORD).unlink(missing_ok=True)
        raise
    for model in models:
        with store.writing(place / model / RECORD):
            (place / model / RECORD).unlink(missing_ok=True)


def failed(place: Path) -> list[FailedPull]:
    """Return the failed pulls by model, except those that a later pull completed."""
    found = []
    for path in sorted(place.glob(f"*/*/{RECORD}")):
        try:
            held = json.loads(path.read_text())
            code = f" [{held['code']}]" if held.get("code") else ""  # earlier versions have none
            error = held["error"] and held["error"] + code
            one = FailedPull(str(path.parent.relative_to(place)), float(held["began"]), error)
        except (OSError, ValueError, KeyError, TypeError):  # of another version, or of a pull that is just ending
            continue
        if one.error is not None or not _is_running(path.parent):
            found.append(one)
    return found


def _record(place: Path, model: str, began: float, errors: Iterable[RoundhouseError]) -> None:
    texts, codes = [error.message for error in errors], [error.code for error in errors]
    error = "\n".join(texts)[:_ERROR_CHARACTERS] or None
    content = {"schema": 1, "began": began, "error": error, "code": codes[0] if codes else None}
    try:
        json_file.write(place / model / RECORD, content, durable=False)
    except OSError:  # a full disk: the pull itself reports it
        return


def _is_running(folder: Path) -> bool:
    """Return true if a process holds the repository's lock."""
    return lock.is_held(folder / LOCK)
