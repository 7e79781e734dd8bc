"""JSON files of the program's own: written whole, and read only where they are of the same schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from . import files


def write(path: Path, content: object, *, durable: bool = True) -> None:
    """Write JSON as files.write does."""
    files.write(path, json.dumps(content), durable=durable)


def read(path: Path, schema: int) -> dict[str, Any]:
    """Return the file's object; {} where there is no file, or another version of the program wrote it."""
    try:
        held = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):  # it is renamed into place whole, so no half of one is there
        return {}
    return held if isinstance(held, dict) and held.get("schema") == schema else {}
