"""Record the content of an agent's configuration at its start, so that a later change is known whatever the clock."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from ..util import json_file
from . import serving

if TYPE_CHECKING:  # absolute, so that Ansible does not ship it with modules
    from roundhouse.schema.plan import Agent

_SCHEMA = 1


def digest(agent: Agent) -> str | None:
    """Return the SHA-256 of the configuration and, of a container, its Compose file; None if a file is missing."""
    made = hashlib.sha256()
    try:
        for path in files(agent):
            made.update(hashlib.sha256(path.read_bytes()).digest())
    except OSError:
        return None
    return made.hexdigest()


def files(agent: Agent) -> list[Path]:
    """Return the files that the agent's engine reads at its start."""
    return [Path(path) for path in (agent["config_path"], agent.get("compose_path")) if path]


def record(agent: Agent, invocation: str) -> None:
    """Record the configuration of this start, systemd's `invocation` of the unit. Raises OSError."""
    content = {"schema": _SCHEMA, "invocation": invocation, "sha256": digest(agent)}
    json_file.write(_path(agent), content)


def recorded(agent: Agent, invocation: str | None) -> str | None:
    """Return the SHA-256 that was recorded at this start; None if none was, as by an earlier version."""
    held = json_file.read(_path(agent), _SCHEMA)
    return held.get("sha256") if invocation and held.get("invocation") == invocation else None


def _path(agent: Agent) -> Path:
    return serving.FOLDER / f"config-{agent['name']}.json"
