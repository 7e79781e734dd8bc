"""Inspect which parts of a deployment are present on a host. The roles skip the steps for these."""

from __future__ import annotations

import pwd
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..host import docker, packages, proxy, services
from ..plan import accounts
from . import model_state

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.facts import HostState, RequiredModel, RequiredResult

_COMMAND = Path("/usr/local/bin/roundhouse")
_GATEWAY = Path("/etc/roundhouse/gateway")
_UNITS = Path("/etc/systemd/system")


class Asked(NamedTuple):
    """The parts to inspect.

    `environments` are folders of Python environments, and `current` is the link to the hub client's environment.
    `folders` are the roster's own model folders. `image` is None without containers.
    """

    environments: Iterable[str]
    current: str
    store: str
    folders: Iterable[str]
    required_models: list[RequiredModel]
    quantizations: list[RequiredResult]
    image: str | None


def inspect(asked: Asked) -> HostState:
    """Return the host's state by part. Raises RoundhouseError for a model whose manifest cannot be read."""
    current = Path(asked.current)
    return {
        "packages": sorted(packages.installed().versions),
        "environments": [path for path in asked.environments if Path(path, "bin/python").exists()],
        "hub_current": str(current.readlink()) if current.is_symlink() else None,
        "models": model_state.inspect(asked.store, asked.folders, asked.required_models, asked.quantizations),
        "image": bool(asked.image) and docker.has_image(str(asked.image)),
        "command": _command(),
        "users": _users(),
        "gateway": gateway(),
        "proxy": proxy.PATH.exists(),
        "ollama": services.inspect({"ollama.service": None})["services"]["ollama.service"],
    }


def gateway(units: Path = _UNITS, folder: Path = _GATEWAY) -> dict[str, bool]:
    """Return the parts of the gateway with true for each that is present."""
    return {
        "unit": (units / "roundhouse-gateway.service").exists(),
        "control": (units / "roundhouse-control.service").exists(),
        "keys": (folder / "keys.json").exists() and (folder / "keys.map").exists(),
        "certificate": (folder / "tls.pem").exists(),
    }


def _command() -> str | None:
    """Return the name of the installed command's folder, None without one or for a dangling link."""
    return _COMMAND.resolve().parent.name if _COMMAND.is_symlink() and _COMMAND.exists() else None


def _users() -> dict[str, dict[str, str | int]]:
    """Return the host's own accounts with the roles' names, by name."""
    return {
        each.pw_name: {"uid": each.pw_uid, "gid": each.pw_gid, "home": each.pw_dir, "shell": each.pw_shell}
        for each in pwd.getpwall()
        if each.pw_name == accounts.FORMER or each.pw_name.startswith(accounts.PREFIX)
    }
