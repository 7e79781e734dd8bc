"""Lock files, for one writer at a time.

A lock file has mode 0600, so another account can neither open nor lock it. Each account that can open a folder can lock
it, so only the controller locks folders, to leave no lock file beside the roster.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import RoundhouseError

# A writer holds its lock for milliseconds, so a longer wait is an error.
WAIT_SECONDS = 30.0
_POLL_SECONDS = 0.02
_MODE = 0o600
_LOCKS = Path("/proc/locks")


@contextmanager
def exclusive(path: Path, seconds: float = WAIT_SECONDS) -> Iterator[None]:
    """Hold the lock. Raises OSError, and RoundhouseError lock_held if another process holds it for that time."""
    descriptor = opened(path)
    try:
        end = time.monotonic() + seconds
        while not taken(descriptor):
            if time.monotonic() >= end:
                raise _held(path, seconds)
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def opened(path: Path) -> int:
    """Open the lock file, created if it is missing, or a folder, and return its descriptor. Raises OSError."""
    if path.is_dir():
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
    if os.fstat(descriptor).st_uid == os.geteuid():
        os.fchmod(descriptor, _MODE)  # an earlier version created it with 0644
    return descriptor


def taken(descriptor: int) -> bool:
    """Try to take the lock, and return whether this process has it now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_held(path: Path) -> bool:
    """Return whether a process holds the lock; this needs no permission for the file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except PermissionError:
        return _holder(path) is not None
    except OSError:  # the file is missing
        return False
    try:
        # A shared lock, because NFS permits an exclusive one only on a file that is open for writing.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # the disk does not support locks
        return False
    finally:
        os.close(descriptor)
    return False


def _holder(path: Path) -> int | None:
    """Return the pid of the process on this host that holds the lock; None without one."""
    try:
        found = path.stat()
        lines = _LOCKS.read_text().splitlines()
    except OSError:
        return None
    wanted = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in lines:  # "1: FLOCK  ADVISORY  WRITE 812 00:19:1234 0 EOF"; a process that waits has "->" before FLOCK
        columns = line.split()
        if columns[1] == "FLOCK" and columns[5] == wanted:
            return int(columns[4])
    return None


def _held(path: Path, seconds: float) -> RoundhouseError:
    pid = _holder(path)
    try:
        holder = "another process" if pid is None else f"{Path(f'/proc/{pid}/comm').read_text().strip()} (pid {pid})"
    except OSError:  # it has ended
        holder = f"pid {pid}"
    return RoundhouseError(
        "lock_held",
        "{holder} has held the lock {path} for {seconds:g} s.",
        "Wait until that process ends, or stop it, and run the command again.",
        holder=holder,
        path=str(path),
        seconds=seconds,
    )
