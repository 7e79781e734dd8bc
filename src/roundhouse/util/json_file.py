"""Read and write the program's own JSON files: written atomically, and ignored if their schema differs.

`read_foreign` reads a JSON file of someone else, such as a model's.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from . import files

# An index of a large model's weights has 10 MiB.
LARGEST_BYTES = 64 << 20


def write(path: Path, content: object, *, durable: bool = True) -> None:
    """Write JSON atomically, as files.write does."""
    files.write(path, json.dumps(content), durable=durable)


def parse(text: str | bytes) -> Any:
    """Return the value of a JSON text. Raises ValueError, also for one that is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_foreign(path: Path, limit_bytes: int = LARGEST_BYTES) -> Any:
    """Return the value of a JSON file that may contain anything.

    Raises FileNotFoundError and other OSError, and ValueError for a file that is not JSON, too long, or no file.
    """
    # A FIFO would be waited for, and a device has no end.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is not a file")
        content = file.read(limit_bytes + 1)
    if len(content) > limit_bytes:
        raise ValueError(f"it is longer than {limit_bytes} bytes")
    return parse(content)


def read(path: Path, schema: int) -> dict[str, Any]:
    """Return the file's object; {} if the file is missing or has a different schema."""
    try:
        held = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):  # an atomic rename puts it in place, so it is never incomplete
        return {}
    return held if isinstance(held, dict) and held.get("schema") == schema else {}
