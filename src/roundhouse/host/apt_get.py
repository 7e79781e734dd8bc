"""Run apt-get, and wait for the process that holds one of apt's locks.

DPkg::Lock::Timeout covers dpkg's locks alone: an update of the package lists fails at once while a first boot updates
them. Here each of apt's locks is the error apt_locked, and `wait` repeats the call until the lock is free.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ..errors import RoundhouseError
from ..util import process
from . import dnf

LOCKS = tuple(
    map(
        Path,
        (
            "/var/lib/apt/lists/lock",
            "/var/lib/dpkg/lock-frontend",
            "/var/lib/dpkg/lock",
            "/var/cache/apt/archives/lock",
        ),
    )
)
WAIT_SECONDS = 600.0
CHECK_SECONDS = 5.0
_FLOCK = "hhqqi4x"  # struct flock on 64-bit Linux: type, whence, start, length, process
# apt-get 2.0 and later, in the locale C; dpkg that apt-get started.
_LOCKED = re.compile(r"Could not get lock (\S+?)\.?(?:\s|$)|Unable to lock directory (\S+)|frontend lock was locked by")

T = TypeVar("T")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run apt-get. Raises RoundhouseError apt_locked if another process holds a lock that it needs."""
    require_unlocked()
    done = process.run(["apt-get", *arguments], env={**os.environ, "LC_ALL": "C.UTF-8"})
    if done.returncode != 0 and (found := _LOCKED.search(done.stderr)):
        # The lock was taken meanwhile. Its holder may have ended since.
        require_unlocked()
        raise _error(found[1] or found[2] or str(LOCKS[1]), "another process", 0)
    return done


def require_unlocked() -> None:
    """Raise RoundhouseError apt_locked if another process holds one of apt's locks."""
    for path in LOCKS:
        if name := holder(path):
            raise _error(str(path), name, 0)


def holder(path: Path) -> str | None:
    """Return the name and pid of the process that locks the file; None if it is not locked."""
    try:
        with path.open("rb") as file:
            wanted = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, wanted))
    except OSError:  # the file is missing or not readable for this user, who then cannot run apt either
        return None
    if kind == fcntl.F_UNLCK:
        return None
    try:
        return f"{Path(f'/proc/{pid}/comm').read_text().strip()} (pid {pid})"
    except OSError:  # a process outside of this container
        return "another process"


def wait(call: Callable[[], T], tell: Callable[[str], None], seconds: float = WAIT_SECONDS) -> T:
    """Repeat a call while a lock of apt or dnf stops it, and tell each lock once. Raises the error after `seconds`."""
    begun, told = time.monotonic(), ""
    while True:
        try:
            return call()
        except RoundhouseError as error:
            if error.code not in LOCKED:
                raise
            path, name = str(error.fields["path"]), str(error.fields["holder"])
            if (waited := time.monotonic() - begun) >= seconds:
                raise LOCKED[error.code](path, name, waited) from None
        line = f"waiting up to {seconds:.0f} s for {path}, which {name} locks"
        if line != told:
            tell(line)
            told = line
        time.sleep(min(CHECK_SECONDS, seconds))


def _error(path: str, name: str, seconds: float) -> RoundhouseError:
    return RoundhouseError(
        "apt_locked",
        "{holder} locks {path}, after a wait of {seconds} s.",
        "Wait until that process ends (`systemctl status apt-daily unattended-upgrades`), then run the playbook again.",
        holder=name,
        path=path,
        seconds=round(seconds),
    )


# The errors of locks, each with the function that returns it.
LOCKED = {"apt_locked": _error, "dnf_locked": dnf.locked}
