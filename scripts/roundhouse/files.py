"""Small files, several at once: each is whole or as it was, also when a run is killed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import NamedTuple


class Change(NamedTuple):
    """A file before and after, as --diff shows it; `before` is empty for a new one, `after` for one that goes."""

    path: str
    before: str
    after: str


def changes(wanted: dict[str, str | None]) -> list[Change]:
    """Return what differs from the wanted content by path; None is for a file that shall not be there."""
    found = []
    for name, content in wanted.items():
        path = Path(name)
        before = path.read_text(errors="replace") if path.is_file() else None
        if before != content:
            found.append(Change(name, before or "", content or ""))
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


def write(path: Path, content: str, mode: int = 0o644, owner: tuple[int, int] | None = None) -> None:
    """Write a file through a temporary one beside it; `owner` are the numbers of user and group, -1 for as it is."""
    make_folder(path.parent)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        if owner:
            os.chown(aside, *owner)
        Path(aside).chmod(mode)
        Path(aside).rename(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def apply(wanted: dict[str, str | None]) -> None:
    """Bring the files to the wanted content."""
    for change in changes(wanted):
        content = wanted[change.path]
        if content is None:
            Path(change.path).unlink()
        else:
            write(Path(change.path), content)
