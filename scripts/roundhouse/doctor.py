"""The host's health as rows: what was looked at, whether it is well, and the cure where it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import driver

# States that are as they should be, or that are the machine's own choice.
_WELL = ("ok", "unmanaged", "wsl")


def rows(root: Path = Path("/")) -> list[dict[str, Any]]:
    """Return {"part", "state", "ok", "sentence", "cure"} for each part of the host that is looked at."""
    seen = driver.see(root)
    found = driver.state(seen)
    works = found.state in _WELL and (seen.nvml_error is None or not seen.loaded)
    return [{"part": "driver", **found._asdict(), "ok": works}]


def text(found: list[dict[str, Any]]) -> str:
    """Return the rows for a person: a cure only where one is wanted."""
    return "\n".join(
        f"{row['part']}: {row['state']}. {row['sentence']}" + ("" if row["ok"] else f"\n  {row['cure']}")
        for row in found
    )
