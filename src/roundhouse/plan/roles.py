"""Compute an agent's role: the defaults of requests, and their files, which vllm/middleware.py reads.

The folder of an agent contains the middleware, whose change restarts the engine, and the defaults, whose change does
not. A container mounts the folder, because a mounted file would stay the old one after its replacement.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ..util.pairs import pairs

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from collections.abc import Mapping

    from roundhouse.schema.plan import Agent, RoleDefaults
    from roundhouse.schema.roster import WantedAgent

FOLDER = "/etc/roundhouse/roles"
SAMPLING = (
    *("temperature", "top_p", "top_k", "min_p"),
    *("presence_penalty", "frequency_penalty", "repetition_penalty"),
)
# Not imported, so that commands on a host need not load it; a test compares the names.
_SOURCE = Path(__file__).resolve().parents[1] / "vllm/middleware.py"
_DEFAULTS = "defaults.json"
_MODULE = "roundhouse_roles"
# The value of vLLM's option --middleware: an import path.
MIDDLEWARE = f"{_MODULE}.RoleDefaults"


def folder(name: str) -> str:
    """Return the folder of an agent's role, where its engine imports the middleware from."""
    return f"{FOLDER}/{name}"


def defaults(agent: WantedAgent) -> RoleDefaults:
    """Return the defaults of a valid agent of the roster; unset ones are absent."""
    settings: Mapping[str, object] = agent
    made = {name: settings[name] for name in ("system_prompt", "thinking", "max_tokens") if name in settings}
    sampling = {name: settings[name] for name in SAMPLING if name in settings}
    return cast("RoleDefaults", {"sampling": sampling, **made})


def files(agent: Agent) -> dict[str, str]:
    """Return the content of the role's files by path, {} for an agent of an earlier version's plan."""
    paths_of = paths(agent)
    if not paths_of:
        return {}
    text = json.dumps({agent["name"]: agent["role_defaults"]}, indent=1, ensure_ascii=False) + "\n"
    code = _SOURCE.read_text(encoding="utf-8")
    return dict(pairs(paths_of, [code, text]))


def paths(agent: Agent) -> list[str]:
    """Return the paths of the middleware and of the defaults, [] for an agent of an earlier version's plan."""
    own = folder(agent["name"])
    return [f"{own}/{_MODULE}.py", f"{own}/{_DEFAULTS}"] if "role_defaults" in agent else []


def is_read_live(path: str) -> bool:
    """Return true for a file that a running engine reads again."""
    return path.startswith(f"{FOLDER}/") and path.endswith(f"/{_DEFAULTS}")
