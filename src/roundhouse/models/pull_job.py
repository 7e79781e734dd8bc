"""One model on its way into a store: what is missing, what a killed run left, and the end under its final name.

How the last pull of a model failed, kept beside it in the store until one goes well.

Ansible keeps nothing of a module that failed, and a pull by hand writes to its terminal alone.
"""

from __future__ import annotations

import fcntl
import json
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ..errors import RoundhouseError
from . import manifest, safetensors, store
from .download import PART
from .manifest import File
from .store import LOCK


class Wish(NamedTuple):
    """A model to have. `files` is what a lock file says of it, None to ask the source."""

    model: str
    revision: str  # 40-hex, or a branch that the source resolves
    asked: str = "main"
    files: list[File] | None = None


class Job:
    """One model on its way into the store."""

    def __init__(self, wish: Wish, revision: str, files: list[File], place: Path, source: str) -> None:
        self.model, self.revision, self.files = wish.model, revision, files
        self.final = store.folder(place, wish.model, revision)
        self.partial = store.partial(place, wish.model, revision)
        self.source = source
        self.asked = wish.asked
        self.turn = threading.Lock()
        self.missing: list[File] = []

    def look(self) -> None:
        """Find what is missing, and take away what a killed run left of other files."""
        self.whole = self._manifest(self.final)
        self.aside = self._manifest(self.partial)
        if self.partial.exists():
            names = {file.path for file in self.files}
            for path in self.partial.iterdir():
                if path.name.removesuffix(PART) not in names and path.name != manifest.NAME:
                    path.unlink()
        before = dict(self.whole.stamps)
        self.missing = [file for file in self.files if not self._is_here(file)]
        # Copied to another disk, its files have other times: what was read now need not be read at each run.
        if self.final.is_dir() and not self.missing and before != self.whole.stamps:
            with written(self.final):
                self.whole.write(self.final)

    def needs_bytes(self) -> int:
        """Return how many bytes of disk the missing files will take beyond what is there."""
        return sum(file.size for file in self.missing) - self.has_bytes()

    def has_bytes(self) -> int:
        """Return how many bytes of the missing files an earlier run left."""
        parts = [self.partial / (file.path + PART) for file in self.missing]
        return sum(part.stat().st_size for part in parts if part.exists())

    def is_done(self) -> bool:
        """Return whether the model is under its name and whole."""
        return self.final.is_dir() and not self.missing and not self.partial.exists()

    def begin(self) -> None:
        """Make the folder, and say in it what for: so that another revision's run knows whose it is."""
        if not self.is_done():
            store.make_folder(self.partial)
            self.aside.write(self.partial)

    def got(self, file: File, sha256: str) -> None:
        """Note a file that has come, so that a run that goes on later need not hash it again."""
        with self.turn:
            self.aside.note(self.partial, file, sha256)
            self.aside.write(self.partial)
            self.missing.remove(file)

    def finish(self) -> None:
        """Put the model, or the files that were damaged, under the final name. Raises RoundhouseError."""
        if self.final.is_dir():
            self._mend()
            return
        if problem := safetensors.problem(self.partial):
            raise RoundhouseError(
                "pull", f"{problem}, as it stands on {self.source}: {self.model} is not whole there, name another."
            )
        self.aside.verified_at = manifest.now()
        self.aside.write(self.partial)
        for path in self.partial.iterdir():
            path.chmod(0o644)
        self.partial.chmod(0o755)
        store.sync(self.partial)
        self.partial.rename(self.final)
        store.sync(self.final.parent)

    def _mend(self) -> None:
        for file in self.files:
            aside = self.partial / file.path
            if aside.exists():
                aside.chmod(0o644)
                aside.rename(self.final / file.path)
                self.whole.sha256[file.path] = self.aside.sha256[file.path]
                self.whole.stamps[file.path] = self.aside.stamps[file.path]
        self.whole.files = self.files
        self.whole.write(self.final)
        store.sync(self.final)
        if self.partial.exists():
            store.remove(self.partial)

    def _is_here(self, file: File) -> bool:
        return self.whole.is_good(self.final, file) or self.aside.is_good(self.partial, file)

    def _manifest(self, folder: Path) -> manifest.Manifest:
        found = manifest.read(folder)
        if found and found.files == self.files:
            return found
        made = manifest.Manifest(self.model, self.revision, self.files, asked=self.asked, source=self.source)
        if found:  # the list grew or shrank: what was hashed stays hashed
            known = {file.path for file in self.files if file in found.files}
            made.sha256 = {path: value for path, value in found.sha256.items() if path in known}
            made.stamps = {path: value for path, value in found.stamps.items() if path in known}
        return made


def lacking_bytes(place: Path, model: str, revision: str, files: list[File]) -> int:
    """Return how much a model still takes of the store's disk, by the lengths of what is there; reads no content."""
    final, partial = store.folder(place, model, revision), store.partial(place, model, revision)
    lacking = 0
    for file in files:
        there = (final / file.path, partial / file.path, partial / (file.path + PART))
        lacking += file.size - max((path.stat().st_size for path in there if path.exists()), default=0)
    return max(lacking, 0)


def take_leftovers(place: Path, jobs: list[Job]) -> None:
    """Take away what killed runs left of the jobs' models and nobody goes on with. Ask with their locks held."""
    for model in {job.model for job in jobs}:
        own = [job for job in jobs if job.model == model]
        for left in store.leftovers(place / model, {job.revision for job in own}, {job.asked for job in own}):
            with written(left):
                store.remove(left)


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Turn what the system says of the store's disk into a sentence."""
    try:
        yield
    except OSError as error:
        raise RoundhouseError(
            "pull", f"{path} cannot be written: {error.strerror}. See to that disk; what came is kept."
        ) from None


NAME = ".pull.json"
_ERROR_CHARACTERS = 1000


class Failed(NamedTuple):
    """A pull that brought nothing whole: `error` is its sentence, None when it was ended before it had one."""

    model: str
    began: float  # seconds since the epoch
    error: str | None


@contextmanager
def kept(place: Path, wishes: Iterable[Wish]) -> Iterator[None]:
    """Note that these models are pulled, and how that failed; hold their locks."""
    models = sorted({wish.model for wish in wishes})
    began = time.time()
    for model in models:
        _note(place, model, began, None)
    try:
        yield
    except RoundhouseError as error:
        if error.code != "interrupted":
            for model, own in _own(models, error.message).items():
                if own is None:
                    (place / model / NAME).unlink(missing_ok=True)
                else:
                    _note(place, model, began, own)
        raise
    for model in models:
        (place / model / NAME).unlink(missing_ok=True)


def failed(place: Path) -> list[Failed]:
    """Return the pulls that failed and were not made good since, by name."""
    found = []
    for path in sorted(place.glob(f"*/*/{NAME}")):
        try:
            told = json.loads(path.read_text())
            one = Failed(str(path.parent.relative_to(place)), float(told["began"]), told["error"])
        except (OSError, ValueError, KeyError, TypeError):  # another version's, or of one that ends just now
            continue
        if one.error is not None or not _runs(path.parent):
            found.append(one)
    return found


def _own(models: list[str], message: str) -> dict[str, str | None]:
    """Return each model's own sentence, None for one that came whole; where none is named, it is everybody's."""
    found = {model: next((line for line in message.splitlines() if model in line), None) for model in models}
    return found if any(found.values()) else dict.fromkeys(models, message)


def _note(place: Path, model: str, began: float, error: str | None) -> None:
    content = {"schema": 1, "began": began, "error": error and error[:_ERROR_CHARACTERS]}
    try:
        (place / model / NAME).write_text(json.dumps(content))
    except OSError:  # a full disk: the pull itself says so, and a look at the disks does
        return


def _runs(folder: Path) -> bool:
    """Return whether a process holds the repository's lock."""
    try:
        with (folder / LOCK).open() as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # none was made, or the disk has no locks: then none is held
        return False
    return False
