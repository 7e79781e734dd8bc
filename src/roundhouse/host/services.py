"""Inspect the state of services, so that a role skips the steps that change nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from . import systemctl

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.facts import ServiceReads, Services, ServiceState


def inspect(wanted: Mapping[str, ServiceReads | None]) -> Services:
    """Return the state of the services, and Roundhouse's units whose changed files systemd has not reloaded."""
    units = systemctl.properties([*wanted, "roundhouse*"], "ActiveState", "UnitFileState", "NeedDaemonReload")
    found: dict[str, ServiceState] = {
        name: {
            "enabled": units.get(name, {}).get("UnitFileState") == "enabled",
            "state": units.get(name, {}).get("ActiveState", "inactive"),
            "unread": _unread(**settings) if settings else [],
        }
        for name, settings in wanted.items()
    }
    return {
        "services": found,
        "stale": sorted(name for name, unit in units.items() if unit.get("NeedDaemonReload") == "yes"),
    }


def _unread(reads: str, read_at: str, ignores: Iterable[str] = ()) -> list[str]:
    """Return the files of a folder that are newer than the mark file; [] if there is no mark file yet."""
    try:
        mark = Path(read_at).stat().st_mtime
    except FileNotFoundError:
        return []
    paths = [path for path in sorted(Path(reads).rglob("*")) if path.is_file()]
    kept = [path for path in paths if not any(fnmatch(path.name, pattern) for pattern in ignores)]
    return [str(path) for path in kept if path.stat().st_mtime > mark]
