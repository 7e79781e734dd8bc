"""Stop the active agents without a replacement, so that the GPU is free.

The record of active agents stays, so a reboot, a deployment or `resume` starts them again. With gateway_on_demand, a
request does so too. The journal of a killed switch stays for the recovery, unless all its agents are stopped.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TypedDict

from ..agents import drain
from ..errors import RoundhouseError, interrupted
from ..gateway import haproxy, on_demand
from ..host import systemd
from ..plan import deployed
from ..plan.deployed import find
from ..schema.plan import Agent, Plan
from ..state import history, serving, switch_journal
from ..state.note import Report, now_and_then
from . import context, rollback, transaction


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
    if name:
        find(plan, name)
    begun, begun_at = time.monotonic(), time.time()
    with serving.switching(switch_journal.describe, wait=context.report_wait_once(report) if wait else None):
        plan = deployed.load(deployed.PATH)  # read after the wait, because a deployment may have changed it
        asked = [find(plan, name)] if name else [find(plan, agent["name"]) for agent in plan["agents"]]
        stopping = [agent for agent in asked if systemd.state(agent["unit"]) in drain.UP]
        names = [agent["name"] for agent in stopping]
        try:
            serving.note_stopped([agent["name"] for agent in asked])
            haproxy.publish_routes(plan, report)
            cut = drain.drain(stopping, drain_seconds, report, now_and_then(report), "`roundhouse stop`")
        except KeyboardInterrupt:
            raise _interrupted(plan, stopping, begun_at, report) from None
        except (OSError, RoundhouseError) as error:
            _forget(plan, stopping, report)
            raise rollback.as_error("The stop", error) from None
        _end_killed(plan, report)
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
        staying = _forget(plan, stopping, report)
        leaving = [agent["name"] for agent in stopping if agent["name"] not in staying]
        told = [f"{' and '.join(staying)} stays active."] if staying else []
        told += [f"systemd continues to stop {' and '.join(leaving)}: see `roundhouse status`."] if leaving else []
        error = context.with_sentence(interrupted(), " ".join(told))
        names = [agent["name"] for agent in stopping]
        entry = history.Entry(begun_at, names, "", history.INTERRUPTED, {}, 0, error.message, error.code)
        context.add_to_history(entry, report)
    return error


def _end_killed(plan: Plan, report: Report) -> None:
    """End a killed switch whose agents are all stopped, so that the recovery does not start one of them again."""
    killed = switch_journal.killed()
    if killed is None:
        return
    units = [agent["unit"] for agent in plan["agents"] if agent["name"] in (killed.to, *killed.previous)]
    if not any(systemd.state(unit) in drain.UP for unit in units):
        context.record_killed(killed, report)
        transaction.on_disk(report, switch_journal.remove)
        haproxy.publish_routes(plan, report)


def _forget(plan: Plan, stopping: list[Agent], report: Report) -> list[str]:
    """Take the notes of agents that stay active back, open the gateway for them, and return their names."""
    staying = [agent["name"] for agent in stopping if systemd.state(agent["unit"]) == "ready"]
    transaction.on_disk(report, partial(serving.forget_stopped, staying))
    haproxy.publish_routes(plan, report)
    return staying


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
