"""List the files that the role gateway writes, and the units that it then starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from ..gateway import haproxy
from ..gateway.keys import GROUP
from ..host.systemd import FOLDER as UNITS
from ..schema.facts import ServiceReads, Services

if TYPE_CHECKING:
    from .file_tree import Template

CONTROL = ("roundhouse-control.socket", "roundhouse-control.service")
LUA = ("engine.lua", "hold.lua", "request.lua")
RULES = "/etc/roundhouse/demand.json"


class Config(TypedDict):
    """The fields of gateway/config.build that are read here."""

    folder: str
    runtime: str
    certificate: str | None  # HAProxy's file; None without TLS
    own_certificate: str  # the user's file; empty: none
    demand: str | None


class Written(Services):
    """The fields of roundhouse_host_files' result that are read here."""

    paths: list[str]  # the changed files


def build(config: Config) -> dict[str, object]:
    """Return {"folders", "files", "services"} for roundhouse_host_files."""
    folder = config["folder"]
    files: dict[str, Template | str | None] = {
        **{f"{folder}/{name}": {"source": name} for name in LUA},
        f"{folder}/models.json": None,  # of earlier versions
    }
    if config["certificate"] and config["own_certificate"]:
        certificate: Template = {"copy_of": config["own_certificate"], "secret": True, "mode": "0640"}
        files[config["certificate"]] = {**certificate, "owner": "root", "group": GROUP}
    # The command fills in the agents of the deployed plan; the unit calls it before each start and reload.
    checks = ["/usr/local/bin/roundhouse routes --template %s"]
    files[f"{folder}/haproxy.cfg.in"] = {"template": "haproxy.cfg.j2", "validate": checks}
    names = [haproxy.UNIT]
    if config["demand"]:
        files[RULES] = config["demand"] + "\n"
        names += CONTROL
    files |= {f"{UNITS}/{name}": {"template": f"{name}.j2"} for name in names}
    # HAProxy receives keys through its socket, without a reload.
    read: ServiceReads = {"reads": folder, "read_at": f"{config['runtime']}/loaded", "ignores": ["keys.*"]}
    return {
        "folders": {folder: {"owner": "root", "group": GROUP, "mode": "0750"}},
        "files": files,
        "services": {haproxy.UNIT: read, **dict.fromkeys(CONTROL)},
    }


def control_units(written: Written) -> dict[str, object]:
    """Return the units of the control service to start or restart, as {"units", "state"}."""
    if any(name in written["stale"] or f"{UNITS}/{name}" in written["paths"] for name in CONTROL):
        return {"units": list(CONTROL), "state": "restarted"}
    found = {name: written["services"][name] for name in CONTROL}
    lacking = [name for name, unit in found.items() if unit["state"] != "active" or not unit["enabled"]]
    return {"units": lacking, "state": "started"}
