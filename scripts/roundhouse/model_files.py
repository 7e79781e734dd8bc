"""What a model is made of: its files, their sizes and checksums, and which of them an engine needs."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from .errors import RoundhouseError

# Never pickles (.bin, .pt, .pth), never a model's own code (.py); vLLM reads nothing below a subfolder.
WANTED = ("*.safetensors", "*.json", "*.txt", "*.jinja", "*.model", "*.tiktoken")
READ_BYTES = 1 << 20


class File(NamedTuple):
    """One file of a repository. `checksum` is the hub's own: sha256:HEX of a large file, else git-sha1:HEX."""

    path: str
    size: int
    checksum: str


def wanted(files: Iterable[File], model: str) -> list[File]:
    """Return the files that an engine needs, by name. Raises RoundhouseError when none are weights."""
    # A hidden file is none of the model's: the store's own names begin with a dot.
    top = [file for file in files if "/" not in file.path and not file.path.startswith(".")]
    chosen = [file for file in top if any(fnmatch.fnmatch(file.path, pattern) for pattern in WANTED)]
    weights = [file.path for file in chosen if file.path.endswith(".safetensors")]
    if not weights:
        raise RoundhouseError(
            "pull", f"{model} has no .safetensors file, and pickles are not loaded: name a repository that has."
        )
    # Some repositories hold the same weights once more in the layout of their maker (consolidated*.safetensors).
    if any(name.startswith("model") for name in weights):
        chosen = [file for file in chosen if file.path.startswith("model") or file.path not in weights]
    return sorted(chosen)


class Digest:
    """Hashes a file while it comes: always its sha256, and git's own for a small file that has no other."""

    def __init__(self, file: File) -> None:
        self._file = file
        self.reset()

    def reset(self) -> None:
        """Forget everything: the file starts again."""
        self.size = 0
        self._sha256 = hashlib.sha256()
        # https://git-scm.com/book/en/v2/Git-Internals-Git-Objects: a blob is hashed with its length before it.
        self._git = hashlib.sha1(f"blob {self._file.size}\0".encode(), usedforsecurity=False)
        self._by_git = self._file.checksum.startswith("git-sha1:")

    def update(self, piece: bytes) -> None:
        """Take the next piece."""
        self.size += len(piece)
        self._sha256.update(piece)
        if self._by_git:
            self._git.update(piece)

    def read(self, path: Path) -> None:
        """Take a whole file of this disk."""
        with path.open("rb", buffering=0) as content:
            while piece := content.read(READ_BYTES):
                self.update(piece)

    def checksum(self) -> str:
        """Return what is to be compared with the file's checksum."""
        return f"git-sha1:{self._git.hexdigest()}" if self._by_git else f"sha256:{self.sha256()}"

    def sha256(self) -> str:
        """Return the sha256 as HEX."""
        return self._sha256.hexdigest()

    def fits(self) -> bool:
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
