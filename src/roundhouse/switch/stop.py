"""Stop the active agents without a replacement, so that the GPU is free.

The record of active agents stays, so a reboot, a deployment or `resume` starts them again. With gateway_on_demand, a
request does so too. The journal of a killed switch stays for the next switch.
"""

from __future__ import annotations

import time
from typing import TypedDict

from ..agents import drain
from ..errors import RoundhouseError, interrupted
from ..gateway import haproxy, on_demand
from ..host import systemd
from ..plan.deployed import find
from ..schema.plan import Agent, Plan
from ..state import history, serving, switch_journal
from ..state.note import Report, now_and_then
from . import context, rollback


class StopResult(TypedDict):
    """The result of stop()."""

    stopped: list[str]
    changed: bool
    cut: int  # requests
    seconds: float
    on_demand: bool  # a request starts an agent again


def stop(
    plan: Plan, name: str | None, report: Report, *, drain_seconds: float = drain.DEFAULT_SECONDS, wait: bool = False
) -> StopResult:
    """Stop the agent, or all of them, and return the stopped ones; none of them needs to be up.

    Raises UsageError for an unknown name, and RoundhouseError while a switch runs.
    """
    asked = [find(plan, name)] if name else [find(plan, agent["name"]) for agent in plan["agents"]]
    begun, begun_at = time.monotonic(), time.time()
    with serving.switching(switch_journal.describe, wait=context.report_wait_once(report) if wait else None):
        stopping = [agent for agent in asked if systemd.state(agent["unit"]) in drain.UP]
        names = [agent["name"] for agent in stopping]
        serving.note_stopped([agent["name"] for agent in asked])
        haproxy.publish_routes(plan, report)
        try:
            cut = drain.drain(stopping, drain_seconds, report, now_and_then(report), "`roundhouse stop`")
        except KeyboardInterrupt:
            raise _interrupted(plan, stopping, begun_at, report) from None
    return {
        "stopped": names,
        "changed": bool(names),
        "cut": cut,
        "seconds": round(time.monotonic() - begun, 1),
        "on_demand": on_demand.is_deployed(plan),
    }


def _interrupted(plan: Plan, stopping: list[Agent], begun_at: float, report: Report) -> RoundhouseError:
    """End a stop: an agent that was not asked to stop yet stays active, the others continue to stop.

    Record it as interrupted, and return the error with a sentence that names the agents.
    """
    with rollback.signals_ignored():
        staying = [agent["name"] for agent in stopping if systemd.state(agent["unit"]) == "ready"]
        leaving = [agent["name"] for agent in stopping if agent["name"] not in staying]
        serving.forget_stopped(staying)
        haproxy.publish_routes(plan, report)
        told = [f"{' and '.join(staying)} stays active."] if staying else []
        told += [f"systemd continues to stop {' and '.join(leaving)}: see `roundhouse status`."] if leaving else []
        error = context.with_sentence(interrupted(), " ".join(told))
        names = [agent["name"] for agent in stopping]
        entry = history.Entry(begun_at, names, "", history.INTERRUPTED, {}, 0, error.message, error.code)
        context.add_to_history(entry, report)
    return error


def text(result: StopResult) -> str:
    """Return the result for a person."""
    names = " and ".join(result["stopped"])
    if not names:
        return "No agent was active."
    cut = f", {result['cut']} requests were cut" if result["cut"] else ""
    causes = "the next request" if result["on_demand"] else "a switch"
    again = f"{causes}, a reboot, a deployment or `roundhouse resume`"
    it = "It starts" if len(result["stopped"]) == 1 else "They start"
    return f"{names} stopped ({result['seconds']:g} s{cut}). {it} again on {again}."
