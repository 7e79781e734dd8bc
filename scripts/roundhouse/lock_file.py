"""A lock file beside the roster: JSON that says what a name means, read by all hosts of a run and written by the first.

{"schema": 1, KIND: {NAME: ..., ...}}
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import UsageError

SCHEMA = 1

Entries = dict[str, Any]


def read(path: Path, kind: str) -> Entries:
    """Return the entries, nothing where there is no file. Raises UsageError."""
    try:
        held = json.loads(path.read_text())
        if held["schema"] != SCHEMA:
            raise ValueError(f"schema {held['schema']}")
        return dict(held[kind])
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: Exception) -> UsageError:
    """Return what is said of a lock file that nobody understands."""
    return UsageError(
        "lock", f"{path} cannot be read ({error}): restore it from version control, or delete it to lock anew."
    )


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Let one host at a time read and write the file."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # the folder's: a file beside the roster would be one too many
        yield
    finally:
        os.close(folder)


def text(entries: Entries, kind: str) -> str:
    """Return what the file holds: sorted, an entry to a line, so that a change reads as one."""
    return json.dumps({"schema": SCHEMA, kind: dict(sorted(entries.items()))}, indent=1) + "\n"
