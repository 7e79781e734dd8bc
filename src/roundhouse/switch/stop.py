"""`stop`: drain and stop the active agents, and leave their card idle.

The agents stay on record, so a reboot, a deployment or `resume` starts them again, as does a request on demand. The
journal of a killed switch stays too; the next switch settles it.
"""

from __future__ import annotations

import time
from typing import TypedDict

from ..agents import drain
from ..errors import interrupted
from ..gateway import haproxy
from ..host import systemd
from ..plan.deployed import find
from ..schema.plan import Plan
from ..state import serving, switch_journal
from ..state.note import Report, now_and_then
from . import context


class StopResult(TypedDict):
    """The result of stop()."""

    stopped: list[str]
    changed: bool
    cut: int  # requests
    seconds: float


def stop(
    plan: Plan, name: str | None, report: Report, *, drain_seconds: float = drain.DEFAULT_SECONDS, wait: bool = False
) -> StopResult:
    """Stop the agent, or all of them, and return what was stopped; none that is up is fine.

    Raises UsageError for an unknown name and RoundhouseError while a switch runs.
    """
    asked = [find(plan, name)] if name else [find(plan, agent["name"]) for agent in plan["agents"]]
    begun = time.monotonic()
    with serving.switching(switch_journal.describe, wait=context.report_wait_once(report) if wait else None):
        stopping = [agent for agent in asked if systemd.state(agent["unit"]) in drain.UP]
        names = [agent["name"] for agent in stopping]
        serving.note_stopped([agent["name"] for agent in asked])
        haproxy.publish_routes(plan, report)
        try:
            cut = drain.drain(stopping, drain_seconds, report, now_and_then(report), "`roundhouse stop`")
        except KeyboardInterrupt:
            sentence = f"{' and '.join(names)} may go on stopping: roundhouse status tells."
            raise context.with_sentence(interrupted(), sentence) from None
    return {"stopped": names, "changed": bool(names), "cut": cut, "seconds": round(time.monotonic() - begun, 1)}


def text(result: StopResult) -> str:
    """Return the result for a person."""
    names = " and ".join(result["stopped"])
    if not names:
        return "No agent was active."
    cut = f", {result['cut']} requests were cut" if result["cut"] else ""
    return (
        f"{names} stopped ({result['seconds']:g} s{cut}). "
        "A request on demand, a reboot, a deployment or `roundhouse resume` starts an agent again."
    )
