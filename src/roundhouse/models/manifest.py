"""Read and write a model's manifest: its files with sizes and checksums, their source and the last verification.

The manifest is in the model's folder, so that one rename publishes both. A file is not read again if its length and
modification time equal those in the manifest. `verify` reads all files.
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
from ..util import files, json_file

# Pickles (.bin, .pt, .pth) and a model's own code (.py) are excluded; vLLM does not read subfolders.
WANTED = ("*.safetensors", "*.json", "*.txt", "*.jinja", "*.model", "*.tiktoken")
READ_BYTES = 1 << 20
COMMIT = re.compile(r"[0-9a-f]{40}")
# What follows the kind of a checksum.
_CHECKSUM = re.compile(r"(sha256|git-sha1):[0-9a-f]+")
# Linux's file systems allow 255, of which the store's own suffixes need a part.
_LONGEST_NAME_BYTES = 200
# The HTTP status of a host that shares its store but cannot read the manifest.
UNREADABLE_MANIFEST = 422


class File(NamedTuple):
    """One file of a repository. `checksum` is the hub's own: sha256:HEX of a large file, else git-sha1:HEX."""

    path: str
    size: int
    checksum: str


def is_name(path: str) -> bool:
    """Return true if a source's path can be a file of a model's folder: one printable name that is not hidden."""
    return (
        path.isprintable()
        and "/" not in path
        and not path.startswith((".", " "))
        and 0 < len(path.encode()) <= _LONGEST_NAME_BYTES
    )


def wanted(files: Iterable[File], model: str) -> list[File]:
    """Return the files that an engine needs, by name. Raises RoundhouseError if there are no weights."""
    # Hidden files are excluded, because the store's own files begin with a dot.
    top = [file for file in files if is_name(file.path)]
    chosen = [file for file in top if any(fnmatch.fnmatch(file.path, pattern) for pattern in WANTED)]
    weights = [file.path for file in chosen if file.path.endswith(".safetensors")]
    if not weights:
        raise RoundhouseError(
            "no_safetensors",
            "{model} has no .safetensors file; pickles are not supported.",
            "Name a repository with .safetensors files.",
            model=model,
        )
    # Some repositories also contain the same weights in the author's own layout (consolidated*.safetensors).
    if any(name.startswith("model") for name in weights):
        chosen = [file for file in chosen if file.path.startswith("model") or file.path not in weights]
    return sorted(chosen)


class Digest:
    """Compute the hashes of a file while it arrives: sha256, and git's SHA-1 for a small file without a sha256."""

    def __init__(self, file: File) -> None:
        self._file = file
        self.reset()

    def reset(self) -> None:
        """Start again at the first byte."""
        self.size = 0
        self._sha256 = hashlib.sha256()
        # Git hashes a blob with its length in front (https://git-scm.com/book/en/v2/Git-Internals-Git-Objects).
        self._git = hashlib.sha1(f"blob {self._file.size}\0".encode(), usedforsecurity=False)
        self._by_git = self._file.checksum.startswith("git-sha1:")

    def update(self, piece: bytes) -> None:
        """Add the next piece."""
        self.size += len(piece)
        self._sha256.update(piece)
        if self._by_git:
            self._git.update(piece)

    def read(self, path: Path) -> None:
        """Add the content of a local file."""
        with path.open("rb", buffering=0) as content:
            while piece := content.read(READ_BYTES):
                self.update(piece)

    def checksum(self) -> str:
        """Return the checksum of the bytes, in the notation of the file's checksum."""
        return f"git-sha1:{self._git.hexdigest()}" if self._by_git else f"sha256:{self.sha256()}"

    def sha256(self) -> str:
        """Return the sha256 as HEX."""
        return self._sha256.hexdigest()

    def matches(self) -> bool:
        """Return true if length and checksum match the file's."""
        return self.size == self._file.size and self.checksum() == self._file.checksum


def checked(path: str, size: str, checksum: str) -> File:
    """Return a File. Raises ValueError for a size that is not a number of bytes, or an unknown checksum."""
    if not re.fullmatch(r"[0-9]{1,15}", size) or not _CHECKSUM.fullmatch(checksum):
        raise ValueError(f"{path!r}: '{size} {checksum}'")
    return File(path, int(size), checksum)


def as_json(files: Iterable[File]) -> dict[str, str]:
    """Return the files for a lock file or a manifest, as {"model.safetensors": "988097824 sha256:HEX"}."""
    return {file.path: f"{file.size} {file.checksum}" for file in sorted(files)}


def from_json(held: dict[str, str]) -> list[File]:
    """Return the files that `as_json` wrote. Raises ValueError for anything else, such as a path with a slash."""
    files = []
    for path, text in held.items():
        size, _, checksum = text.partition(" ")
        if not is_name(path):
            raise ValueError(f"{path!r}: {text!r}")
        files.append(checked(path, size, checksum))
    return files


NAME = ".roundhouse.json"
SCHEMA = 1
# The remedy for a model without a manifest.
REMEDY = "Pull the model again, which verifies the existing files, or remove its folder."

_DAMAGED = "Delete that file and pull the model again, which verifies the existing files."


class Manifest:
    """Hold the manifest of a folder. `sha256` and `stamps` contain the files that were hashed on this host."""

    def __init__(self, model: str, revision: str, files: list[File], *, asked: str, source: str) -> None:
        self.model, self.revision, self.files = model, revision, files
        self.asked, self.source = asked, source
        self.sha256: dict[str, str] = {}
        self.stamps: dict[str, int] = {}  # st_mtime_ns when the file was hashed
        self.verified_at: str | None = None
        self.unreadable: dict[str, str] = {}  # path -> the system's reason

    def record(self, folder: Path, file: File, sha256: str) -> None:
        """Record a verified file of the folder, with its sha256 and its modification time."""
        self.sha256[file.path] = sha256
        self.stamps[file.path] = (folder / file.path).stat().st_mtime_ns

    def is_known_good(self, folder: Path, file: File) -> bool:
        """Return true if the file was hashed on this host and is unchanged since. Reads no content."""
        try:
            found = (folder / file.path).stat()
        except FileNotFoundError:
            return False
        return found.st_size == file.size and found.st_mtime_ns == self.stamps.get(file.path)

    def is_unchanged(self, folder: Path) -> bool:
        """Return true if no file has changed since it was hashed on this host. Reads no content."""
        return all(self.is_known_good(folder, file) for file in self.files)

    def is_good(self, folder: Path, file: File, *, read: bool = False) -> bool:
        """Return true if the file is correct. Reads its content if its stamp differs, or always with `read`."""
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
        """Return the names of extra files in the folder; an engine would load an extra .safetensors file.

        A disk that became read-only may keep the manifest's temporary file, which its next writer removes.
        """
        known = {NAME, *(file.path for file in self.files)}
        names = sorted(path.name for path in folder.iterdir() if path.name not in known)
        return [name for name in names if not name.startswith(f".{NAME}.")]

    def write(self, folder: Path) -> None:
        """Write the manifest into the folder, atomically."""
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
    """Return the folder's manifest, None without one. Raises RoundhouseError if it is damaged."""
    path = folder / NAME
    try:
        held: dict[str, Any] = json_file.read_foreign(path)
        if held["schema"] != SCHEMA:
            raise ValueError(f"schema {held['schema']}")
        # A folder on a disk from elsewhere may contain anything, and the revision becomes the name of a folder.
        if not COMMIT.fullmatch(held["revision"]):
            raise ValueError(f"revision {held['revision']!r}")
        found = Manifest(
            held["model"], held["revision"], from_json(held["files"]), asked=held["asked"], source=held["source"]
        )
        found.sha256, found.stamps, found.verified_at = dict(held["sha256"]), dict(held["stamps"]), held["verified_at"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise unreadable("manifest_unreadable", path, error, _DAMAGED) from None
    return found


def read_or_error(folder: Path) -> Manifest | RoundhouseError | None:
    """Return the folder's manifest, None without one, or the error of a damaged one."""
    try:
        return read(folder)
    except RoundhouseError as error:
        return error


def read_in_store(folder: Path) -> Manifest | RoundhouseError | None:
    """Return what `read_or_error` returns, or an error if the manifest is of another revision than the folder."""
    found = read_or_error(folder)
    if isinstance(found, Manifest) and found.revision != folder.name:
        reason = ValueError(f"revision {found.revision!r} in a folder of another name")
        return unreadable("manifest_unreadable", folder / NAME, reason, _DAMAGED)
    return found


def now() -> str:
    """Return the current time in UTC, to the second."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
