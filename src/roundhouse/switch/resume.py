"""Bring the agents back that served last: at boot, and at the end of a deployment.

A serving agent whose configuration, engine or environment was deployed anew is restarted, so that
what runs is what the plan says. Where nobody served yet, the first agent of the roster on each card
does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..agents.drain import UP
from ..agents.drift import is_outdated
from ..agents.prestart_checks import check
from ..errors import RoundhouseError
from ..gateway import haproxy
from ..host import systemd
from ..plan.deployed import Agent, Plan, find
from ..state import serving as state_serving
from ..state import switch_journal
from . import context, deploy_journal, transaction
from .recovery import deaf_to_signals


def resume(plan: Plan, report: context.Report) -> dict[str, Any]:
    """Return {"serving": names, "changed": names that were started or restarted}."""
    with state_serving.switching(switch_journal.told):
        return resume_locked(deploy_journal.settled(plan, report), report)


def resume_locked(plan: Plan, report: context.Report) -> dict[str, Any]:
    """Do what `resume` does, for a caller that holds the lock."""
    serving = wanted(plan, report)
    up = [agent for agent in plan["agents"] if systemd.state(agent["unit"]) in UP]
    outdated = [agent for agent in serving if _is_outdated(plan, agent)]
    # Since the roster changed, an agent may run on a card that now belongs to another.
    leaving = [agent for agent in up if agent not in serving] + outdated
    errors: dict[str, str] = {}
    for agent in serving:
        if agent in outdated or agent not in up:
            with _told(errors, agent):
                check(agent, [other["unit"] for other in leaving])
    changed = []
    # One that cannot start as it is planned now goes on as it is.
    staying = [agent for agent in leaving if {agent["name"], *agent["conflicts"]} & errors.keys()]
    with deaf_to_signals():  # half of them stopped, and nothing on record: the end of this would leave nobody
        for agent in leaving:
            if agent not in staying:
                report(f"{agent['name']} runs as it was deployed before: stopping it")
                systemd.stop(agent["unit"])
    for agent in serving:
        if agent["name"] not in errors:
            with _told(errors, agent):  # the agents of the other cards must come up all the same
                if transaction.ensure_ready_locked(plan, agent, report)["changed"]:
                    changed.append(agent["name"])
    if errors:
        raise RoundhouseError("resume", f"{' '.join(errors.values())} {transaction.who_serves(plan)}")
    return {"serving": [agent["name"] for agent in serving], "changed": changed}


def start_only(plan: Plan, report: context.Report) -> list[str]:
    """Queue the start of who is to serve and return the names: a boot does not wait for engines.

    A switch that the machine's end cut off was not committed, so who served before it comes back.
    """
    if not state_serving.is_switching():
        plan = deploy_journal.settled(plan, report)
    serving = wanted(plan, report)
    names = [str(agent["name"]) for agent in serving]
    if (left := switch_journal.left()) and not state_serving.is_switching():
        context.remember_killed(left, report, finished=left.to in names)
        switch_journal.path().unlink(missing_ok=True)
    haproxy.follow(plan, report)
    errors: dict[str, str] = {}
    for agent in serving:
        with _told(errors, agent):
            systemd.start(agent["unit"])
    if errors:
        raise RoundhouseError("resume", " ".join(errors.values()))
    return names


def _is_outdated(plan: Plan, agent: Agent) -> bool:
    try:
        return is_outdated(plan, agent, systemd.show(agent["unit"]))
    except RoundhouseError:  # a unit that is gone: the check says so
        return False


@contextmanager
def _told(errors: dict[str, str], agent: Agent) -> Iterator[None]:
    """Keep an agent's error, so that those of the other cards come up all the same."""
    try:
        yield
    except RoundhouseError as error:
        errors[agent["name"]] = error.message


def wanted(plan: Plan, report: context.Report) -> list[Agent]:
    """Return who is to serve: who serves, else who served last, else the roster's first, per card."""
    running = [agent["name"] for agent in plan["agents"] if systemd.state(agent["unit"]) in ("ready", "starting")]
    known = [agent["name"] for agent in plan["agents"]]
    try:
        served = state_serving.serving()
    except RoundhouseError as error:  # better the roster's first than nobody
        report(error.message)
        served = []
    if (left := switch_journal.left()) and left.to not in [*running, *served]:
        # It is undone: who served when it began stands first. One whose agent is coming up is finished instead, and
        # one that was committed, and killed before its journal was taken away, is done.
        running = [*(name for name in left.previous if name in known), *running]
    candidates = [*running, *(name for name in served if name in known), *known]
    names: list[str] = []
    for name in candidates:
        if name not in names and not set(find(plan, name)["conflicts"]) & set(names):
            names.append(name)
    return [find(plan, name) for name in names]
