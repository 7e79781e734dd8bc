"""Read and write the program's own JSON files: written atomically, and ignored if their schema differs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from . import files


def write(path: Path, content: object, *, durable: bool = True) -> None:
    """Write JSON atomically, as files.write does."""
    files.write(path, json.dumps(content), durable=durable)


def read(path: Path, schema: int) -> dict[str, Any]:
    """Return the file's object; {} if the file is missing or has a different schema."""
    try:
        held = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):  # an atomic rename puts it in place, so it is never incomplete
        return {}
    return held if isinstance(held, dict) and held.get("schema") == schema else {}
