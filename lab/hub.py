#!/usr/bin/env python3
"""Serve a model hub on loopback for the lab: each folder ROOT/NAME is the repository lab/NAME.

It runs the store's own server (models/peer_server.py) on plain folders. The revision is computed from the content.
Large files have a SHA-256 and small files have git's checksum, as on the public hub.

    hub.py ROOT PORT      (on a host: PYTHONPATH=/usr/local/lib/roundhouse-... hub.py ROOT PORT)
"""

from __future__ import annotations

import functools
import hashlib
import sys
from pathlib import Path

from roundhouse.models import peer_server
from roundhouse.models.manifest import Digest, File

SMALL_BYTES = 1_000_000  # the public hub keeps larger files in LFS


class Folders:
    """Plain folders, each one repository with one revision under the branch main."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def has(self, model: str) -> bool:
        """Return whether the repository exists."""
        return model.startswith("lab/") and self.folder(model).is_dir()

    def folder(self, model: str) -> Path:
        """Return a repository's folder."""
        return self.root / model.partition("/")[2]

    def revision(self, model: str, asked: str) -> str | None:
        """Return the revision, computed from the content, if `asked` is main or this revision; otherwise None."""
        listing = "".join(f"{file.path} {file.checksum}\n" for file in self.files(model, ""))
        commit = hashlib.sha1(listing.encode(), usedforsecurity=False).hexdigest()
        return commit if asked in ("main", commit) else None

    def files(self, model: str, revision: str) -> list[File]:
        """Return the files with their checksums."""
        paths = sorted(path for path in self.folder(model).iterdir() if path.is_file())
        return [describe(path, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]

    def path(self, model: str, revision: str, name: str) -> Path:
        """Return the path of a file."""
        return self.folder(model) / name


@functools.cache
def describe(path: Path, size: int, mtime_ns: int) -> File:
    """Return a file with its checksum, which is computed again only if size or time changed."""
    kind = "sha256:" if size > SMALL_BYTES else "git-sha1:"
    digest = Digest(File(path.name, size, kind))
    digest.read(path)
    return File(path.name, size, digest.checksum())


def main() -> None:
    """Serve until killed."""
    address = ("127.0.0.1", int(sys.argv[2]))
    peer_server.Server(address, Folders(Path(sys.argv[1])), None, peer_server.Handler).serve_forever()


if __name__ == "__main__":
    main()
