"""Bring the agents back that served last: at boot, and at the end of a deployment.

A serving agent whose configuration or unit was deployed anew is restarted, so that what runs is
what the plan says. Where nobody served yet, the first agent of the roster on each card does.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from . import state, units
from .plan import find
from .switch import Report, ensure_ready

UNIT_FOLDER = Path("/etc/systemd/system")
Agent = dict[str, Any]


def resume(plan: dict[str, Any], report: Report) -> dict[str, Any]:
    """Return {"serving": names, "changed": names that were started or restarted}."""
    wanted = _wanted(plan)
    changed = []
    for name in wanted:
        agent = find(plan, name)
        if units.show(agent["unit"]).state == "ready" and _outdated(agent):
            report(f"{name} runs with an older configuration: restarting it")
            units.stop(agent["unit"])
        if ensure_ready(plan, name, report)["changed"]:
            changed.append(name)
    return {"serving": wanted, "changed": changed}


def start_only(plan: dict[str, Any]) -> list[str]:
    """Queue the start of who is to serve and return the names: a boot does not wait for engines."""
    wanted = _wanted(plan)
    for name in wanted:
        units.start(find(plan, name)["unit"])
    return wanted


def _wanted(plan: dict[str, Any]) -> list[str]:
    """Return who is to serve: who serves, else who served last, else the roster's first, per card."""
    running = [agent["name"] for agent in plan["agents"] if units.show(agent["unit"]).state in ("ready", "starting")]
    known = [agent["name"] for agent in plan["agents"]]
    candidates = [*running, *(name for name in state.serving() if name in known), *known]
    wanted: list[str] = []
    for name in candidates:
        if name not in wanted and not set(find(plan, name)["conflicts"]) & set(wanted):
            wanted.append(name)
    return wanted


def _outdated(agent: Agent) -> bool:
    started = units.show(agent["unit"]).started_monotonic_usec / 1e6
    started_at = time.time() - (time.monotonic() - started)
    return any(path.stat().st_mtime > started_at for path in (Path(agent["config_path"]), UNIT_FOLDER / agent["unit"]))
