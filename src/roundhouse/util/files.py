"""Write small files atomically: each is whole or as it was, also when a run is killed."""

from __future__ import annotations

import fcntl
import glob
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple


class Change(NamedTuple):
    """A file before and after, as --diff shows it; `before` is empty for a new one, `after` for one that goes."""

    path: str
    before: str
    after: str


def changes(wanted: dict[Path, str]) -> list[Change]:
    """Return what differs from the wanted content."""
    found = []
    for path, content in wanted.items():
        before = path.read_text(errors="replace") if path.is_file() else None
        if before != content:
            found.append(Change(str(path), before or "", content))
    return found


def make_folder(path: Path) -> None:
    """Make a folder and what is missing above it, for all to read: root's umask has no part in it."""
    if path.is_dir():
        return
    make_folder(path.parent)
    aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    aside.chmod(0o755)
    try:
        aside.rename(path)
    except OSError:
        aside.rmdir()
        if not path.is_dir():  # else another process has made it meanwhile
            raise


def write(
    path: Path, content: str | bytes, mode: int = 0o644, owner: tuple[int, int] | None = None, *, durable: bool = True
) -> None:
    """Write a file that is whole or as it was, in a folder that is made if need be. Raises OSError.

    `owner` are the numbers of user and group, -1 for as it is. `durable`: it survives a lost machine, not only a killed
    process.
    """
    make_folder(path.parent)
    stage(path, content, mode, owner, durable=durable).rename(path)


def stage(
    path: Path, content: str | bytes, mode: int = 0o644, owner: tuple[int, int] | None = None, *, durable: bool = True
) -> Path:
    """Write what `write` writes beside its place, and return that file: to rename it takes no room. Raises OSError.

    The name is the writer's own, because two writers must not fill one file. What killed writers left is removed.
    """
    remove_leftovers(path.parent, glob.escape(path.name))
    aside = path.with_name(f".{path.name}.{threading.get_native_id()}")
    try:
        # Only its owner may read it before there is anything to read.
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as stream:
            os.fchmod(stream.fileno(), 0o600)
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            if owner:
                os.fchown(stream.fileno(), *owner)
            os.fchmod(stream.fileno(), mode)
            if durable:
                os.fsync(stream.fileno())
    except BaseException:
        aside.unlink(missing_ok=True)  # half a file would take the room that is missing
        raise
    return aside


def remove_leftovers(folder: Path, names: str = "*") -> None:
    """Remove what killed writers left of files of such names."""
    for left in folder.glob(f".{names}.[0-9]*"):
        if not Path("/proc", left.suffix[1:]).exists():
            left.unlink(missing_ok=True)


def link(path: Path, target: str) -> None:
    """Point a link through a temporary one beside it, so that it is never absent."""
    make_folder(path.parent)
    aside = path.with_name(f".{path.name}.new")
    aside.unlink(missing_ok=True)
    aside.symlink_to(target)
    aside.rename(path)


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Let one process at a time read and change what is in a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # the folder's own: a lock file would be one too many
        yield
    finally:
        os.close(descriptor)
