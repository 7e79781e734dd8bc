"""Ask apt's package index which version of a package it would install."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from pathlib import Path

from ..util import process

_STAMP = Path("/var/lib/apt/periodic/update-success-stamp")
_LISTS = Path("/var/lib/apt/lists")
_MAX_AGE_SECONDS = 86400  # the roles' cache_valid_time
_ROW = re.compile(r"^(\S+):\n  Installed: .*\n  Candidate: (\S+)$", re.MULTILINE)


def read(names: Iterable[str], lists: Path = _LISTS, stamp: Path = _STAMP) -> dict[str, str] | None:
    """Return the candidate of each package that has one; None if the index is missing or older than a day."""
    if not _is_current(lists, stamp):
        return None
    # apt translates its words.
    done = process.run(["apt-cache", "policy", *sorted(set(names))], env={**os.environ, "LC_ALL": "C"})
    return parse(done.stdout) if done.returncode == 0 else None


def parse(output: str) -> dict[str, str]:
    """Parse the output of `apt-cache policy`, which omits unknown packages."""
    return {name: candidate for name, candidate in _ROW.findall(output) if candidate != "(none)"}


def _is_current(lists: Path, stamp: Path) -> bool:
    times = [path.stat().st_mtime for path in (lists, stamp) if path.exists()]
    has_index = any(lists.glob("*_Packages*"))  # also compressed, as Acquire::GzipIndexes sets it
    return has_index and time.time() - max(times, default=0.0) < _MAX_AGE_SECONDS
