"""Starting agents on demand: the role's settings, and what the control service does with requests for each agent.

The service writes the second to a file in a folder that a reboot empties. Every writer of the gateway's routes reads
that file, so a switch by hand publishes the same routes.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import UsageError
from ..state import serving
from ..state.note import Report
from ..util import json_file
from .scheduler import Settings, longest_wait_seconds

if TYPE_CHECKING:  # absolute, so that Ansible does not ship them with modules
    from roundhouse.schema.plan import Plan


PATH = Path("/etc/roundhouse/demand.json")


class Offers(NamedTuple):
    """Requests for agents that are not loaded, as the control service handles them."""

    asks: list[str]  # agents that it starts when a request waits.
    retries: dict[str, int]  # agents that failed to start: the time of the next try, in seconds since the epoch.
    pinned_out: list[str]  # agents that a pinned agent keeps from their card.


def offers_path() -> Path:
    """Return the file of the offers."""
    return serving.LOCK.parent / "asks.json"


def _deployment_path() -> Path:
    """Return the file whose time is that of the last deployment or rollback."""
    return serving.LOCK.parent / "deployment"


def note_deployment(report: Report) -> None:
    """Let the control service try failed agents again at once. A failure is only reported."""
    try:
        if PATH.exists():
            _deployment_path().touch()
    except OSError as error:
        report(f"{_deployment_path()} was not updated: {error.strerror}")


def last_deployment() -> int:
    """Return the time of the last deployment since the host's boot, in nanoseconds; 0 without one."""
    try:
        return _deployment_path().stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def is_deployed(plan: Plan) -> bool:
    """Return whether requests start agents on this host."""
    return plan.get("gateway_port") is not None and PATH.exists()


def problem(plan: Plan, settings: Settings, wait_seconds: float) -> str | None:
    """Return what is invalid in the settings, None for nothing."""
    for name in ("in_use_seconds", "min_active_seconds", "max_wait_seconds", "idle_seconds"):
        value, least = getattr(settings, name), 0 if name in ("in_use_seconds", "idle_seconds") else 1
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value < least:
            return f"gateway_{name} is {value!r}. Use a number of seconds, at least {least}."
    shorter = f"gateway_max_wait_seconds is {settings.max_wait_seconds:g}, and"
    if settings.max_wait_seconds < settings.min_active_seconds:
        return f"{shorter} gateway_min_active_seconds is {settings.min_active_seconds:g}. Use at least that value."
    if settings.max_wait_seconds >= wait_seconds:
        return f"{shorter} gateway_wait_seconds, the longest hold, is {wait_seconds:g}. Use less than that value."
    # The times of switches are not known here, so this is the least bound.
    longest = math.ceil(longest_wait_seconds(settings, _most_on_a_card(plan), switch_seconds=0.0))
    if longest > wait_seconds:
        most = _most_on_a_card(plan)
        return (
            f"gateway_wait_seconds, the longest hold, is {wait_seconds:g}. A request may wait {longest} s and the time "
            f"of the switches for its turn among {most} agents of one card. Use more than {longest}, or a smaller "
            "gateway_min_active_seconds."
        )
    names = [agent["name"] for agent in plan["agents"]]
    for field in ("default_agents", "pinned"):
        for name in getattr(settings, field):
            if name not in names:
                return f"gateway_{field} contains {name!r}. Use agents of the roster: {', '.join(names)}."
    return None


def _most_on_a_card(plan: Plan) -> int:
    return max(1 + len(agent["conflicts"]) for agent in plan["agents"])


def load() -> Settings:
    """Return the settings of this host. Raises UsageError."""
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


def publish(offers: Offers) -> None:
    """Write the offers. Raises OSError."""
    json_file.write(offers_path(), offers._asdict(), durable=False)


def withdraw() -> None:
    """Remove the offers: the service ends, and nothing starts agents on demand."""
    offers_path().unlink(missing_ok=True)


def offers() -> Offers:
    """Return the offers; empty where no control service runs. A retry that is due is an offer to start."""
    try:
        found = json.loads(offers_path().read_text())
    except FileNotFoundError:
        return Offers([], {}, [])
    retries = {str(name): int(at) for name, at in found.get("retries", {}).items()}
    due = [name for name, at in retries.items() if at <= time.time()]
    later = {name: at for name, at in retries.items() if name not in due}
    return Offers([*found["asks"], *due], later, found.get("pinned_out", []))


def conflicts(plan: Plan) -> dict[str, list[str]]:
    """Return for each agent those that it shares a card with."""
    return {agent["name"]: list(agent["conflicts"]) for agent in plan["agents"]}
