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
RULES = "/etc/roundhouse/demand.json"


class Config(TypedDict):
    """The keys of gateway/config.build's result that this module uses."""

    folder: str
    runtime: str
    certificate: str | None  # HAProxy's file; None without TLS
    own_certificate: str  # the user's file; empty: none
    models: str
    demand: str | None


class Written(Services):
    """The keys of roundhouse_host_files' result that this module uses."""

    paths: list[str]  # changed files


def build(config: Config) -> dict[str, object]:
    """Return {"folders", "files", "services"} for roundhouse_host_files."""
    folder = config["folder"]
    files: dict[str, Template | str] = {
        f"{folder}/hold.lua": {"source": "hold.lua"},
        f"{folder}/models.json": config["models"] + "\n",
    }
    if config["certificate"] and config["own_certificate"]:
        certificate: Template = {"copy_of": config["own_certificate"], "secret": True, "mode": "0640"}
        files[config["certificate"]] = {**certificate, "owner": "root", "group": GROUP}
    # HAProxy needs the routes file to check its configuration; the unit writes that file before each start.
    checks = ["/usr/local/bin/roundhouse routes", "/usr/sbin/haproxy -c -q -f %s"]
    files[f"{folder}/haproxy.cfg"] = {"template": "haproxy.cfg.j2", "validate": checks}
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
