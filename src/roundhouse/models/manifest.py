"""A model's manifest: its files with sizes and checksums, their source, and when they were last verified.

It lies in the model's folder, so both get their final name in one rename. A file whose length and modification time
are those that the manifest recorded when it was hashed is not read again; `verify` reads all files.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import RoundhouseError, unreadable
from ..util import files

# Never pickles (.bin, .pt, .pth), never a model's own code (.py); vLLM reads nothing below a subfolder.
WANTED = ("*.safetensors", "*.json", "*.txt", "*.jinja", "*.model", "*.tiktoken")
READ_BYTES = 1 << 20
COMMIT = re.compile(r"[0-9a-f]{40}")
# The HTTP status of a host that shares its store and cannot read the manifest.
UNREADABLE_MANIFEST = 422


class File(NamedTuple):
    """One file of a repository. `checksum` is the hub's own: sha256:HEX of a large file, else git-sha1:HEX."""

    path: str
    size: int
    checksum: str


def wanted(files: Iterable[File], model: str) -> list[File]:
    """Return the files that an engine needs, by name. Raises RoundhouseError when none are weights."""
    # Hidden files are left out: the store's own names begin with a dot.
    top = [file for file in files if "/" not in file.path and not file.path.startswith(".")]
    chosen = [file for file in top if any(fnmatch.fnmatch(file.path, pattern) for pattern in WANTED)]
    weights = [file.path for file in chosen if file.path.endswith(".safetensors")]
    if not weights:
        raise RoundhouseError(
            "no_safetensors",
            "{model} has no .safetensors file, and pickles are not loaded.",
            "Name a repository with .safetensors files.",
            model=model,
        )
    # Some repositories hold the same weights once more in the layout of their maker (consolidated*.safetensors).
    if any(name.startswith("model") for name in weights):
        chosen = [file for file in chosen if file.path.startswith("model") or file.path not in weights]
    return sorted(chosen)


class Digest:
    """The hashes of a file while it arrives: its sha256, and git's own for a small file that has no other."""

    def __init__(self, file: File) -> None:
        self._file = file
        self.reset()

    def reset(self) -> None:
        """Start again at the first byte."""
        self.size = 0
        self._sha256 = hashlib.sha256()
        # https://git-scm.com/book/en/v2/Git-Internals-Git-Objects: a blob is hashed with its length before it.
        self._git = hashlib.sha1(f"blob {self._file.size}\0".encode(), usedforsecurity=False)
        self._by_git = self._file.checksum.startswith("git-sha1:")

    def update(self, piece: bytes) -> None:
        """Add the next piece."""
        self.size += len(piece)
        self._sha256.update(piece)
        if self._by_git:
            self._git.update(piece)

    def read(self, path: Path) -> None:
        """Add a whole file of this disk."""
        with path.open("rb", buffering=0) as content:
            while piece := content.read(READ_BYTES):
                self.update(piece)

    def checksum(self) -> str:
        """Return the checksum of the bytes, in the notation of the file's own."""
        return f"git-sha1:{self._git.hexdigest()}" if self._by_git else f"sha256:{self.sha256()}"

    def sha256(self) -> str:
        """Return the sha256 as HEX."""
        return self._sha256.hexdigest()

    def matches(self) -> bool:
        """Return whether length and checksum are those of the file."""
        return self.size == self._file.size and self.checksum() == self._file.checksum


def as_json(files: Iterable[File]) -> dict[str, str]:
    """Return {"model.safetensors": "988097824 sha256:HEX"}: one line a file, in a lock or a manifest."""
    return {file.path: f"{file.size} {file.checksum}" for file in sorted(files)}


def from_json(held: dict[str, str]) -> list[File]:
    """Return the files that `as_json` wrote. Raises ValueError for anything else, also for a path that leaves."""
    files = []
    for path, text in held.items():
        size, _, checksum = text.partition(" ")
        kind, _, value = checksum.partition(":")
        if "/" in path or path.startswith(".") or kind not in ("sha256", "git-sha1") or not value:
            raise ValueError(f"{path!r}: {text!r}")
        files.append(File(path, int(size), checksum))
    return files


NAME = ".roundhouse.json"
SCHEMA = 1
# For a model without a manifest.
REMEDY = "Pull the model again, which hashes what is there, or remove its folder."


class Manifest:
    """The contents of a folder. `sha256` and `stamps` have the files that were hashed on this host."""

    def __init__(self, model: str, revision: str, files: list[File], *, asked: str, source: str) -> None:
        self.model, self.revision, self.files = model, revision, files
        self.asked, self.source = asked, source
        self.sha256: dict[str, str] = {}
        self.stamps: dict[str, int] = {}  # st_mtime_ns when the file was hashed
        self.verified_at: str | None = None
        self.unreadable: dict[str, str] = {}  # path -> the system's reason

    def record(self, folder: Path, file: File, sha256: str) -> None:
        """Record that the file in the folder was hashed and is correct."""
        self.sha256[file.path] = sha256
        self.stamps[file.path] = (folder / file.path).stat().st_mtime_ns

    def is_known_good(self, folder: Path, file: File) -> bool:
        """Return whether the file was hashed here and is unchanged since. Reads no content."""
        try:
            found = (folder / file.path).stat()
        except FileNotFoundError:
            return False
        return found.st_size == file.size and found.st_mtime_ns == self.stamps.get(file.path)

    def is_unchanged(self, folder: Path) -> bool:
        """Return whether all files are as they were when they were hashed here. Reads no content."""
        return all(self.is_known_good(folder, file) for file in self.files)

    def is_good(self, folder: Path, file: File, *, read: bool = False) -> bool:
        """Return whether the file is correct. Its content is read where its stamp differs, or always with `read`."""
        if not read and self.is_known_good(folder, file):
            return True
        path = folder / file.path
        if not path.is_file() or path.stat().st_size != file.size:
            self.stamps.pop(file.path, None)
            return False
        digest = Digest(file)
        try:
            digest.read(path)
        except OSError as error:
            self.unreadable[file.path] = error.strerror or str(error)
        if not digest.matches() or file.path in self.unreadable:
            self.stamps.pop(file.path, None)
            return False
        self.record(folder, file, digest.sha256())
        return True

    def unknown_files(self, folder: Path) -> list[str]:
        """Return files in the folder that are not the model's; an engine would load another .safetensors."""
        known = {NAME, *(file.path for file in self.files)}
        return sorted(path.name for path in folder.iterdir() if path.name not in known)

    def write(self, folder: Path) -> None:
        """Write it into the folder, atomically."""
        text = json.dumps(
            {
                "schema": SCHEMA,
                "model": self.model,
                "revision": self.revision,
                "asked": self.asked,
                "source": self.source,
                "verified_at": self.verified_at,
                "files": as_json(self.files),
                "sha256": self.sha256,
                "stamps": self.stamps,
            },
            indent=1,
        )
        files.write(folder / NAME, text)


def read(folder: Path) -> Manifest | None:
    """Return the folder's manifest, None where there is none. Raises RoundhouseError for a damaged one."""
    path = folder / NAME
    try:
        held: dict[str, Any] = json.loads(path.read_text())
        if held["schema"] != SCHEMA:
            raise ValueError(f"schema {held['schema']}")
        found = Manifest(
            held["model"], held["revision"], from_json(held["files"]), asked=held["asked"], source=held["source"]
        )
        found.sha256, found.stamps, found.verified_at = held["sha256"], held["stamps"], held["verified_at"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        remedy = "Delete that file and pull the model again, which hashes what is there."
        raise unreadable("manifest_unreadable", path, error, remedy) from None
    return found


def read_or_error(folder: Path) -> Manifest | RoundhouseError | None:
    """Return what `read` does, and its error for a damaged one."""
    try:
        return read(folder)
    except RoundhouseError as error:
        return error


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
