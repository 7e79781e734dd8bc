"""The pull of one model into a store: what is missing, what a killed run left, the final rename, and why it failed.

A failed pull is recorded beside the model until one succeeds: Ansible keeps nothing of a module that failed, and a pull
by hand writes to its terminal alone.
"""

from __future__ import annotations

import fcntl
import json
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ..errors import RoundhouseError
from ..util import json_file
from . import manifest, safetensors, store
from .download import PART
from .manifest import File
from .store import LOCK

RECORD = ".pull.json"
_ERROR_CHARACTERS = 1000


class PullRequest(NamedTuple):
    """A model to pull. `files` is its entry of the lock file, None to ask the source."""

    model: str
    revision: str  # 40-hex, or a branch that the source resolves
    asked: str = "main"
    files: list[File] | None = None


class PullJob:
    """The pull of one model."""

    def __init__(self, request: PullRequest, revision: str, files: list[File], place: Path, source: str) -> None:
        self.model, self.revision, self.files = request.model, revision, files
        self.final = store.folder(place, request.model, revision)
        self.partial = store.partial(place, request.model, revision)
        self.source = source
        self.asked = request.asked
        self.lock = threading.Lock()
        self.missing: list[File] = []

    def find_missing(self) -> None:
        """Find the missing files, and remove what a killed run left of other files."""
        self.complete = self._manifest(self.final)
        self.unfinished = self._manifest(self.partial)
        if self.partial.exists():
            names = {file.path for file in self.files}
            for path in self.partial.iterdir():
                if path.name.removesuffix(PART) not in names and path.name != manifest.NAME:
                    path.unlink()
        before = dict(self.complete.stamps)
        self.missing = [file for file in self.files if not self._is_here(file)]
        # Files that were copied from another disk have other times: record them, so that they are read once.
        if self.final.is_dir() and not self.missing and before != self.complete.stamps:
            with store.writing(self.final):
                self.complete.write(self.final)

    def needed_bytes(self) -> int:
        """Return how many bytes of disk the missing files will take beyond what is there."""
        return sum(file.size for file in self.missing) - self.partial_bytes()

    def partial_bytes(self) -> int:
        """Return how many bytes of the missing files an earlier run left."""
        parts = [self.partial / (file.path + PART) for file in self.missing]
        return sum(part.stat().st_size for part in parts if part.exists())

    def is_done(self) -> bool:
        """Return whether the model is complete under its final name."""
        return self.final.is_dir() and not self.missing and not self.partial.exists()

    def begin(self) -> None:
        """Make the folder with a manifest, by which the run of another revision knows whose it is."""
        if not self.is_done():
            store.make_folder(self.partial)
            self.unfinished.write(self.partial)

    def received(self, file: File, sha256: str) -> None:
        """Record a file that has arrived, so that a later run need not hash it again."""
        with self.lock:
            self.unfinished.record(self.partial, file, sha256)
            self.unfinished.write(self.partial)
            self.missing.remove(file)

    def finish(self) -> None:
        """Put the model, or the files that were damaged, under the final name. Raises RoundhouseError."""
        if self.final.is_dir():
            self._replace_damaged()
            return
        if problem := safetensors.problem(self.partial):
            raise RoundhouseError(
                "model_incomplete",
                "{model} is not complete on {source}: {problem}.",
                "Name another model or source.",
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
        store.sync(self.final)
        if self.partial.exists():
            store.remove(self.partial)

    def _is_here(self, file: File) -> bool:
        return self.complete.is_good(self.final, file) or self.unfinished.is_good(self.partial, file)

    def _manifest(self, folder: Path) -> manifest.Manifest:
        found = manifest.read(folder)
        if found and found.files == self.files:
            return found
        made = manifest.Manifest(self.model, self.revision, self.files, asked=self.asked, source=self.source)
        if found:  # the list of files changed: what was hashed stays hashed
            known = {file.path for file in self.files if file in found.files}
            made.sha256 = {path: value for path, value in found.sha256.items() if path in known}
            made.stamps = {path: value for path, value in found.stamps.items() if path in known}
        return made


def missing_bytes(place: Path, model: str, revision: str, files: list[File]) -> int:
    """Return how much disk a model still takes in the store, by the lengths of what is there; reads no content."""
    final, partial = store.folder(place, model, revision), store.partial(place, model, revision)
    missing = 0
    for file in files:
        there = (final / file.path, partial / file.path, partial / (file.path + PART))
        missing += file.size - max((path.stat().st_size for path in there if path.exists()), default=0)
    return max(missing, 0)


def remove_leftovers(place: Path, jobs: list[PullJob]) -> None:
    """Remove what killed runs left of the jobs' models and no run will resume. Call it with their locks held."""
    for model in {job.model for job in jobs}:
        own = [job for job in jobs if job.model == model]
        for left in store.leftovers(place / model, {job.revision for job in own}, {job.asked for job in own}):
            with store.writing(left):
                store.remove(left)


class FailedPull(NamedTuple):
    """A pull that did not complete. `error` ends with its [code]; None when it was ended before it had an error."""

    model: str
    began: float  # seconds since the epoch
    error: str | None


@contextmanager
def recorded(place: Path, models: Collection[str], errors: Mapping[str, list[RoundhouseError]]) -> Iterator[None]:
    """Record that these models are pulled, and their `errors` when that fails. Call it with their locks held."""
    began = time.time()
    for model in models:
        _record(place, model, began, ())
    try:
        yield
    except RoundhouseError as error:
        if error.code != "interrupted":
            for model in models:
                # An error without a model is that of all.
                if own := errors.get(model, []) if errors else [error]:
                    _record(place, model, began, own)
                else:
                    (place / model / RECORD).unlink(missing_ok=True)
        raise
    for model in models:
        (place / model / RECORD).unlink(missing_ok=True)


def failed(place: Path) -> list[FailedPull]:
    """Return the pulls that failed, by name, of models that no later pull completed."""
    found = []
    for path in sorted(place.glob(f"*/*/{RECORD}")):
        try:
            held = json.loads(path.read_text())
            code = f" [{held['code']}]" if held.get("code") else ""  # earlier versions have none
            error = held["error"] and held["error"] + code
            one = FailedPull(str(path.parent.relative_to(place)), float(held["began"]), error)
        except (OSError, ValueError, KeyError, TypeError):  # of another version, or of a pull that ends just now
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
    """Return whether a process holds the repository's lock."""
    try:
        with (folder / LOCK).open() as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # none was made, or the disk has no locks: then none is held
        return False
    return False
