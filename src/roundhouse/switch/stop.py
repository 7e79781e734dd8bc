"""`stop`: who serves leaves, and nobody comes in its place, so that the card is free for something else.

It is for now: who served last stays on record, so a reboot, a deployment or `resume` brings that agent back. A switch
that was killed before keeps its journal too; whoever comes next settles it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ..agents import drain
from ..errors import RoundhouseError
from ..gateway import haproxy
from ..host import systemd
from ..plan.deployed import DRAIN_SECONDS, Plan, find
from ..state import serving, switch_journal

Report = Callable[[str], None]


def stop(
    plan: Plan, name: str | None, report: Report, *, drain_seconds: float = DRAIN_SECONDS, wait: bool = False
) -> dict[str, Any]:
    """Stop the agent, or all of them, and return {"stopped", "changed", "cut", "seconds"}; none that is up is fine.

    Raises UsageError for an unknown name and RoundhouseError while a switch runs.
    """
    asked = [find(plan, name)] if name else [find(plan, agent["name"]) for agent in plan["agents"]]
    begun = time.monotonic()
    with serving.switching(switch_journal.told, wait=report if wait else None):
        leaving = [agent for agent in asked if systemd.state(agent["unit"]) in drain.UP]
        names = [str(agent["name"]) for agent in leaving]
        serving.note_stopped([str(agent["name"]) for agent in asked])
        haproxy.follow(plan, report)
        try:
            cut = drain.leave(leaving, drain_seconds, report, lambda note: None)
        except KeyboardInterrupt:
            sentence = f"interrupted; {' and '.join(names)} may go on stopping: roundhouse status tells."
            raise RoundhouseError("interrupted", sentence) from None
    return {"stopped": names, "changed": bool(names), "cut": cut, "seconds": round(time.monotonic() - begun, 1)}


def text(result: dict[str, Any]) -> str:
    """Return the result for a person."""
    names = " and ".join(result["stopped"])
    if not names:
        return "nobody was serving"
    cut = f", {result['cut']} requests were cut" if result["cut"] else ""
    back = "a reboot, a deployment or roundhouse resume brings back who served last"
    return f"{names} stopped ({result['seconds']:g} s{cut}); {back}"
