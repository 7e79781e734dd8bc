"""Starting agents on demand: the role's settings, and the agents whose requests are held just now.

The control service writes the second, in a folder that a reboot empties. Every writer of the gateway's routes reads it,
so a switch by hand publishes the same.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..state import serving
from ..util import json_file
from .scheduler import Settings

if TYPE_CHECKING:  # absolute, so that Ansible does not ship them with modules
    from roundhouse.schema.plan import Plan


PATH = Path("/etc/roundhouse/demand.json")


def allowed_path() -> Path:
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
        text, remedy = "{path} does not exist.", "Deploy with gateway_on_demand: true."
        raise UsageError("on_demand_not_deployed", text, remedy, path=str(PATH)) from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        text, remedy = "{path} cannot be read ({reason}).", "Deploy again."
        raise UsageError("on_demand_unreadable", text, remedy, path=str(PATH), reason=str(error)) from None


def settings(content: dict[str, Any]) -> Settings:
    """Return the settings that the file holds."""
    return Settings(**{**content, **{name: tuple(content[name]) for name in ("default_agents", "pinned")}})


def allow(names: list[str]) -> None:
    """Write the agents whose requests are held. Raises OSError."""
    json_file.write(allowed_path(), {"asks": names}, durable=False)


def withdraw() -> None:
    """Remove them: no service starts agents any more."""
    allowed_path().unlink(missing_ok=True)


def asks() -> list[str]:
    """Return the agents that a request may ask for: none where no control service runs."""
    try:
        return [str(name) for name in json.loads(allowed_path().read_text())["asks"]]
    except FileNotFoundError:
        return []


def conflicts(plan: Plan) -> dict[str, list[str]]:
    """Return for each agent those that it shares a card with."""
    return {agent["name"]: list(agent["conflicts"]) for agent in plan["agents"]}
