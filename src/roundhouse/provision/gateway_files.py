"""The files that the role gateway writes, and the units that it starts after that."""

from __future__ import annotations

from typing import Any

from ..gateway import haproxy
from ..host.systemd import FOLDER as UNITS

GROUP = "roundhouse-gateway"
CONTROL = ("roundhouse-control.socket", "roundhouse-control.service")
RULES = "/etc/roundhouse/demand.json"


def build(config: dict[str, Any]) -> dict[str, Any]:
    """Return {"folders", "files", "services"} for roundhouse_host_files; `config` is of gateway.config.build."""
    folder = config["folder"]
    files: dict[str, Any] = {
        f"{folder}/hold.lua": {"source": "hold.lua"},
        f"{folder}/models.json": config["models"] + "\n",
    }
    if config["own_certificate"]:
        certificate = {"copy_of": config["own_certificate"], "secret": True, "mode": "0640"}
        files[config["certificate"]] = certificate | {"owner": "root", "group": GROUP}
    # HAProxy reads the track when it checks its configuration; the unit writes it before each start.
    checks = ["/usr/local/bin/roundhouse track", "/usr/sbin/haproxy -c -q -f %s"]
    files[f"{folder}/haproxy.cfg"] = {"template": "haproxy.cfg.j2", "validate": checks}
    names = [haproxy.UNIT]
    if config["demand"]:
        files[RULES] = config["demand"] + "\n"
        names += CONTROL
    files |= {f"{UNITS}/{name}": {"template": f"{name}.j2"} for name in names}
    # HAProxy gets the keys through its socket, without a reload.
    read = {"reads": folder, "read_at": f"{config['runtime']}/loaded", "ignores": ["keys.*"]}
    return {
        "folders": {folder: {"owner": "root", "group": GROUP, "mode": "0750"}},
        "files": files,
        "services": {haproxy.UNIT: read, **dict.fromkeys(CONTROL)},
    }


def control_units(written: dict[str, Any]) -> dict[str, Any]:
    """Return the control service's units to start or restart, as {"units", "state"}.

    `written` is what roundhouse_host_files returned.
    """
    if any(name in written["stale"] or f"{UNITS}/{name}" in written["paths"] for name in CONTROL):
        return {"units": list(CONTROL), "state": "restarted"}
    found = {name: written["services"][name] for name in CONTROL}
    lacking = [name for name, unit in found.items() if unit["state"] != "active" or not unit["enabled"]]
    return {"units": lacking, "state": "started"}
