"""Write small files atomically: a killed run or a power loss leaves either the old content or the new one."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import stat
import threading
from pathlib import Path
from typing import NamedTuple


class Change(NamedTuple):
    """A file before and after, as --diff shows it. `before` is empty for a new file, `after` for a removed one."""

    path: str
    before: str
    after: str


def changes(wanted: dict[Path, str]) -> list[Change]:
    """Return the files whose content differs from the wanted content."""
    found = []
    for path, content in wanted.items():
        before = path.read_text(errors="replace") if path.is_file() else None
        if before != content:
            found.append(Change(str(path), before or "", content))
    return found


def make_folder(path: Path) -> None:
    """Create a folder and its missing parents with mode 0755, regardless of the umask."""
    if path.is_dir():
        return
    import tempfile  # with random, a tenth of what `roundhouse status` imports; a folder is seldom missing

    make_folder(path.parent)
    aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    aside.chmod(0o755)
    try:
        aside.rename(path)
    except OSError:
        aside.rmdir()
        if not path.is_dir():  # otherwise another process has created it meanwhile
            raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Write a file's content, or a folder's names, to the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot sync a folder
            raise
    finally:
        os.close(descriptor)


def write(
    path: Path, content: str | bytes, mode: int = 0o644, owner: tuple[int, int] | None = None, *, durable: bool = True
) -> None:
    """Replace a file atomically and create missing parent folders. Raises OSError.

    `owner` holds the numeric user and group; -1 keeps the current one. `durable` syncs file and folder to disk, so that
    the file survives a power loss and not only a killed process.
    """
    make_folder(path.parent)
    place(stage(path, content, mode, owner, durable=durable), path, durable=durable)


def place(aside: Path, path: Path, *, durable: bool = True) -> None:
    """Rename a staged file or folder to its path, which needs no space. Raises OSError; then `aside` is removed."""
    try:
        aside.rename(path)
    except OSError:
        with contextlib.suppress(OSError):  # a disk that became read-only keeps it, and the next writer removes it
            aside.unlink(missing_ok=True)
        raise
    if durable:
        sync(path.parent)


def remove(path: Path) -> None:
    """Remove a file, if it exists, so that it stays removed after a power loss. Raises OSError."""
    try:
        path.unlink()
    except FileNotFoundError:
        return
    sync(path.parent)


def stage(
    path: Path, content: str | bytes, mode: int = 0o644, owner: tuple[int, int] | None = None, *, durable: bool = True
) -> Path:
    """Write the content to a temporary file beside `path` and return it; renaming it needs no space. Raises OSError.

    Each thread uses its own name, so that two writers never share a file. Files of killed writers are removed.
    """
    remove_leftovers(path.parent, glob.escape(path.name))
    aside = path.with_name(f".{path.name}.{threading.get_native_id()}")
    try:
        # The file is private until its content is complete, because it may hold a secret.
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as stream:
            os.fchmod(stream.fileno(), 0o600)
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            if owner:
                os.fchown(stream.fileno(), *owner)
            os.fchmod(stream.fileno(), mode)
            if durable:
                os.fsync(stream.fileno())
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(aside)  # the write itself does not name it.
        with contextlib.suppress(OSError):  # a disk that became read-only.
            aside.unlink(missing_ok=True)  # on a full disk a partial file would use up the last space
        raise
    return aside


def remove_leftovers(folder: Path, names: str = "*") -> None:
    """Remove the temporary files that killed writers of matching names left in the folder."""
    for left in folder.glob(f".{names}.[0-9]*"):
        if not Path("/proc", left.suffix[1:]).exists():
            with contextlib.suppress(OSError):  # on a read-only disk; the write itself reports it
                left.unlink(missing_ok=True)


def link(path: Path, target: str) -> None:
    """Replace a symbolic link by a rename, so that the link always exists."""
    make_folder(path.parent)
    aside = path.with_name(f".{path.name}.new")
    aside.unlink(missing_ok=True)
    aside.symlink_to(target)
    place(aside, path)


def take_over(folder: Path) -> None:
    """Make this process's account the owner of a folder that belongs to another account, and of its files.

    Links, pipes, folders and files with a second name are removed, because the other account may have placed them as a
    trap. Raises OSError.
    """
    import shutil  # as tempfile in make_folder

    owner = os.geteuid()
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_uid == owner:
            return
        # First, so that the other account can change no name meanwhile.
        os.fchown(descriptor, owner, os.getegid())
        os.fchmod(descriptor, 0o755)
        for name in [each.name for each in folder.iterdir()]:
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                shutil.rmtree(folder / name)
            elif stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
                _own_file(name, descriptor)
            else:
                os.unlink(name, dir_fd=descriptor)
    finally:
        os.close(descriptor)


def _own_file(name: str, folder: int) -> None:
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.fchown(descriptor, os.geteuid(), os.getegid())
        os.fchmod(descriptor, 0o644)
    finally:
        os.close(descriptor)
