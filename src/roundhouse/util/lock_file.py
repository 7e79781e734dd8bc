"""Read and format the lock files beside the roster. All hosts of a run read them; the first host writes them.

Their content is JSON: {"schema": 1, KIND: {NAME: ..., ...}}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UsageError

SCHEMA = 1


def read(path: Path, kind: str) -> dict[str, Any]:
    """Return the entries, {} if the file is missing. Raises UsageError."""
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
        "Restore it from version control, or delete it and run the play again to lock the current versions.",
        path=str(path),
        why=str(error),
    )


def unwritable(path: Path | str, error: OSError) -> UsageError:
    """Return the error for a lock file that cannot be written."""
    return UsageError(
        "lock_file_unwritable",
        "{path} cannot be written ({why}).",
        "Make its folder writable for Ansible's user.",
        path=str(path),
        why=error.strerror or str(error),
    )


def text(entries: Mapping[str, object], kind: str) -> str:
    """Return the file's content, sorted and one entry per line, so that a diff shows single entries."""
    return json.dumps({"schema": SCHEMA, kind: dict(sorted(entries.items()))}, indent=1) + "\n"
