"""Read and format lock files beside the roster, which all hosts of a run read and the first one writes.

They hold JSON: {"schema": 1, KIND: {NAME: ..., ...}}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UsageError

SCHEMA = 1


def read(path: Path, kind: str) -> dict[str, Any]:
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
    """Return the error for a lock file that cannot be read."""
    return UsageError(
        "lock_unreadable",
        "{path} cannot be read ({why}).",
        "Restore it from version control, or delete it to lock anew.",
        path=str(path),
        why=str(error),
    )


def unwritable(path: Path | str, error: OSError) -> UsageError:
    """Return the error for a lock file that cannot be written."""
    return UsageError(
        "lock_file_unwritable",
        "{path} cannot be written ({why}).",
        "Make its folder writable for the user of Ansible.",
        path=str(path),
        why=error.strerror or str(error),
    )


def text(entries: Mapping[str, object], kind: str) -> str:
    """Return what the file holds: sorted, an entry to a line, so that a change reads as one."""
    return json.dumps({"schema": SCHEMA, kind: dict(sorted(entries.items()))}, indent=1) + "\n"
