"""Who serves: systemd's state, and what the running engine says about itself."""

from __future__ import annotations

from typing import Any

from . import output, units
from .engine import Engine
from .errors import RoundhouseError

COLUMNS = ("agent", "state", "port", "model", "max_model_len", "since")


def rows(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one dict per agent with COLUMNS and `version`; what only an engine knows is None without one."""
    return [_row(agent) for agent in plan["agents"]]


def table(found: list[dict[str, Any]]) -> str:
    """Return the rows as aligned text, for a person; the serving agents are marked."""
    return output.table(COLUMNS, found, ["*" if row["state"] == "ready" else " " for row in found])


def _row(agent: dict[str, Any]) -> dict[str, Any]:
    try:
        unit = units.show(agent["unit"])
    except RoundhouseError as error:
        return dict.fromkeys((*COLUMNS, "version")) | {"agent": agent["name"], "problem": error.message}
    row: dict[str, Any] = {
        "agent": agent["name"],
        "state": unit.state,
        "port": agent["port"],
        "model": agent["model"],
        "max_model_len": None,
        "since": unit.since if unit.state == "ready" else None,
        "version": None,
        "problem": None,
    }
    if unit.state == "ready":
        engine = Engine(agent["host"], agent["port"])
        try:
            row["max_model_len"] = engine.served()[0]["max_model_len"]
            row["version"] = engine.version()
        except RoundhouseError as error:
            row["problem"] = error.message
    return row
