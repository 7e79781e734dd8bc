"""A stand-in disk that keeps only synced writes: what a power loss leaves of a folder.

It is stricter than common file systems. The content of a file lasts from the file's fsync on, and its name, new or
removed, from the folder's fsync on.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple


class PowerLost(BaseException):
    """The power fails here. No handler of errors may catch it."""


class _Name(NamedTuple):
    """The inode and type that a name in a folder refers to, and the target of a link."""

    inode: int
    kind: int
    target: str = ""


class Disk:
    """A folder whose synced content is known. `points` counts the calls at which the power may fail."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.points = 0
        self._fails_at = 0
        self._contents: dict[int, bytes] = {}
        self._names: dict[int, dict[str, _Name]] = {}
        self._sync_all(root)

    def _sync_all(self, folder: Path) -> None:
        self._names[folder.stat().st_ino] = _names(folder)
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                self._sync_all(path)
            elif path.is_file() and not path.is_symlink():
                self._contents[path.stat().st_ino] = path.read_bytes()

    @contextmanager
    def failing_at(self, point: int, patch) -> Iterator[None]:
        """Let the power fail before the call of that number, 0 for never; `patch` is pytest's monkeypatch."""
        self.points, self._fails_at = 0, point
        for name in ("fsync", "rename", "replace", "unlink", "mkdir", "symlink", "rmdir"):
            patch.setattr(os, name, self._watched(name, getattr(os, name)))
        try:
            yield
        finally:
            patch.undo()

    def _watched(self, name, call):
        def watched(*arguments, **options):
            self.points += 1
            if self.points == self._fails_at:
                raise PowerLost(f"{name}{arguments}")
            if name == "fsync":
                self._sync(arguments[0])
                return None
            return call(*arguments, **options)

        return watched

    def _sync(self, descriptor: int) -> None:
        found, path = os.fstat(descriptor), Path(f"/proc/self/fd/{descriptor}")
        if stat.S_ISDIR(found.st_mode):
            self._names[found.st_ino] = _names(path)
        else:
            self._contents[found.st_ino] = path.read_bytes()

    def lose_power(self) -> None:
        """Replace the folder's content by what was synced."""
        inode = self.root.stat().st_ino
        for path in self.root.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        self._restore(self.root, inode)

    def _restore(self, folder: Path, inode: int) -> None:
        for name, found in self._names.get(inode, {}).items():
            path = folder / name
            if stat.S_ISDIR(found.kind):
                path.mkdir()
                self._restore(path, found.inode)
            elif stat.S_ISLNK(found.kind):
                path.symlink_to(found.target)
            else:
                path.write_bytes(self._contents.get(found.inode, b""))


def _names(folder: Path) -> dict[str, _Name]:
    found = {}
    for path in folder.iterdir():
        try:
            status = path.lstat()
        except FileNotFoundError:  # another thread has renamed it
            continue
        found[path.name] = _Name(status.st_ino, status.st_mode, str(path.readlink()) if path.is_symlink() else "")
    return found
