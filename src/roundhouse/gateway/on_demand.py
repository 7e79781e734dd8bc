"""On demand: what the role has set, and which agents' requests are worth keeping just now.

The control service writes the second, in a folder that a reboot empties, and whoever tells the gateway who serves reads
it: so a switch by hand says the same of the agents that do not serve.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..plan import deployed
from ..plan.deployed import Plan
from ..state import serving
from .scheduler import Settings

PATH = Path("/etc/roundhouse/demand.json")


def asked_path() -> Path:
    """Return the file of the agents that a request may ask for."""
    return serving.LOCK.parent / "asks.json"


def problem(plan: Plan, settings: Settings, wait_seconds: float) -> str | None:
    """Return what is wrong with the settings, None for nothing."""
    for name in ("min_active_seconds", "max_wait_seconds", "idle_seconds"):
        value, least = getattr(settings, name), 0 if name == "idle_seconds" else 1
        if isinstance(value, bool) or not isinstance(value, int | float) or value < least:
            return f"gateway_{name} is {value!r}: write seconds, at least {least}."
    shorter = f"gateway_max_wait_seconds is {settings.max_wait_seconds:g}, and"
    if settings.max_wait_seconds < settings.min_active_seconds:
        return f"{shorter} gateway_min_active_seconds is {settings.min_active_seconds:g}: write no less than that."
    if settings.max_wait_seconds >= wait_seconds:
        return f"{shorter} gateway_wait_seconds is {wait_seconds:g}, the longest that a request is kept: write less."
    names = [agent["name"] for agent in plan["agents"]]
    for field in ("default_agents", "pinned"):
        for name in getattr(settings, field):
            if name not in names:
                return f"gateway_{field} names {name!r}: write agents of the roster, {', '.join(names)}."
    return None


def load() -> Settings:
    """Return what is set on this host. Raises UsageError."""
    try:
        return settings(json.loads(PATH.read_text()))
    except FileNotFoundError:
        raise UsageError("control", f"{PATH} does not exist: deploy with gateway_on_demand: true.") from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError("control", f"{PATH} cannot be read ({error}): deploy again.") from None


def settings(told: dict[str, Any]) -> Settings:
    """Return what that file says."""
    return Settings(**{**told, **{name: tuple(told[name]) for name in ("default_agents", "pinned")}})


def allow(names: list[str]) -> None:
    """Say whose requests are worth keeping. Raises OSError."""
    serving.write(asked_path(), {"asks": names}, durable=False)


def withdraw() -> None:
    """Say that nobody brings an agent any more."""
    asked_path().unlink(missing_ok=True)


def asks() -> list[str]:
    """Return the agents that a request may ask for: none where no control service runs."""
    try:
        return [str(name) for name in json.loads(asked_path().read_text())["asks"]]
    except FileNotFoundError:
        return []


def conflicts(plan: Plan) -> dict[str, list[str]]:
    """Return for each agent those that it shares a card with."""
    return {agent["name"]: list(deployed.find(plan, agent["name"])["conflicts"]) for agent in plan["agents"]}
