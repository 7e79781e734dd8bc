"""How far services are from what a role wants of them, so that a step runs only where it does something."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

_PROPERTIES = "Id,ActiveState,UnitFileState,NeedDaemonReload"


def look(wanted: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Any]:
    """Return {"enabled", "state", "unread"} of each service by its name, and under "stale" units that systemd lacks.

    `state` is systemd's ActiveState. A service's `reads` is the folder of its files, `read_at` the file that it touches
    when it has read them, and `ignores` are patterns of names. `stale`: units of Roundhouse in systemd's memory whose
    files are newer.
    """
    told = _show([*wanted, "roundhouse*"])
    found: dict[str, Any] = {
        name: {
            "enabled": told.get(name, {}).get("UnitFileState") == "enabled",
            "state": told.get(name, {}).get("ActiveState", "inactive"),
            "unread": _unread(**settings) if settings else [],
        }
        for name, settings in wanted.items()
    }
    return {
        "services": found,
        "stale": sorted(name for name, unit in told.items() if unit.get("NeedDaemonReload") == "yes"),
    }


def _show(names: list[str]) -> dict[str, dict[str, str]]:
    """Ask systemd for all of them at once; nothing is told where it does not run."""
    try:
        command = ["systemctl", "show", "--property", _PROPERTIES, *names]
        told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return {}
    units = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in told.split("\n\n")]
    return {unit["Id"]: unit for unit in units if "Id" in unit}


def _unread(reads: str, read_at: str, ignores: Iterable[str] = ()) -> list[str]:
    """Return the files of a folder that are newer than the mark; none where nothing was read yet."""
    try:
        mark = Path(read_at).stat().st_mtime
    except FileNotFoundError:
        return []
    paths = [path for path in sorted(Path(reads).rglob("*")) if path.is_file()]
    kept = [path for path in paths if not any(fnmatch(path.name, pattern) for pattern in ignores)]
    return [str(path) for path in kept if path.stat().st_mtime > mark]
