"""A deployment: a new set of plan and files takes the place of the one before as a transaction.

check -> stop -> place -> free -> start -> canary -> commit, for every agent that serves and whose files are others.
Whatever fails before the commit puts the set before in place again, and who served serves again. site.yml, an upgrade
and a rollback are this one way; what a set starts, in which runtime, stands in its files alone.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple, NoReturn

from . import (
    canary,
    card,
    checks,
    deploying,
    gateway,
    history,
    journal,
    leave,
    resume,
    served,
    state,
    switch,
    turn,
    units,
)
from .back import bring_back, deaf_to_signals, told
from .engine import Engine
from .errors import RoundhouseError
from .leave import UP
from .plan import DRAIN_SECONDS, Agent
from .plan_set import PlanSet
from .start import start
from .turn import Report, timed


class Deployment(NamedTuple):
    """One deployment while it runs. The agents of `leaving` and `back` are of the set before, the rest of the new."""

    new: PlanSet
    old: PlanSet
    starting: list[Agent]
    staying: list[Agent]  # who serves and is not touched
    leaving: list[Agent]
    back: list[Agent]
    drain_seconds: float
    report: Report
    log: journal.Journal
    stages: dict[str, float]


def deploy(new: PlanSet, report: Report, *, drain_seconds: float = DRAIN_SECONDS, start: bool = True) -> dict[str, Any]:
    """Put a set in place and return {"plan", "moved", "changed", "serving", "stages"}.

    `moved` tells whether files became others, `changed` names who was started. For who holds the lock. Raises
    RoundhouseError when the set before had to come back; its text says why, and who serves now.
    """
    left = deploying.settle(report)
    old, proved = served.current()
    moved = not new.is_in_place(old)
    if moved and old and proved and start:
        done = _exchange(make(new, old, left, drain_seconds, report))
    else:
        if moved:
            _place(new, old, report)
        done = resume.resume_locked(new.plan, report) if start else {"serving": [], "changed": []}
    if moved or not proved:
        served.record(new, served=start)
    return {"plan": new.name, "moved": moved, "stages": {}, **done}


def make(new: PlanSet, old: PlanSet, left: deploying.Left | None, drain_seconds: float, report: Report) -> Deployment:
    """Return what a deployment is about; nothing is touched."""
    up = [dict(agent) for agent in old.plan["agents"] if units.state(agent["unit"]) in UP]
    wanted = [dict(agent) for agent in resume.wanted(new.plan, report)]
    running = {agent["name"] for agent in up}
    staying = [agent for agent in wanted if agent["name"] in running and not new.restarts(agent["name"])]
    stay = {agent["name"] for agent in staying}
    starting = [agent for agent in wanted if agent["name"] not in stay]
    leaving = [agent for agent in up if agent["name"] not in stay]
    names = left.serving if left else [agent["name"] for agent in leaving]
    back = [agent for name in names if name not in stay and (agent := old.agent(name))]
    log = journal.Journal((starting or staying)[0]["name"], [agent["name"] for agent in back])
    return Deployment(new, old, starting, staying, leaving, back, drain_seconds, report, log, {})


def _place(new: PlanSet, old: PlanSet | None, report: Report) -> None:
    """Put a set in place where there is none to go back to."""
    lost = [agent for agent in old.plan["agents"] if new.agent(agent["name"]) is None] if old else []
    for agent in lost:
        if units.state(agent["unit"]) in UP:
            report(f"{agent['name']} is in the roster no more: stopping it")
            units.stop(agent["unit"])
    new.put(old)
    served.record(new, served=False)


def _exchange(now: Deployment) -> dict[str, Any]:
    for agent in now.starting:
        checks.check_host(agent, [other["unit"] for other in now.leaving])
    _begin(now)
    gateway.follow(now.old.plan, now.report)
    try:
        _forward(now)
        with deaf_to_signals():  # once it is written it is done
            served.record(now.new, served=True)
    except BaseException as error:
        _way_back(now, error)
    deploying.end()
    for agent in now.starting:
        state.record(agent["name"], agent["conflicts"])
    now.log.end()
    gateway.follow(now.new.plan, now.report)
    if now.starting:
        _remember(now, history.DONE, None)
    for agent in now.staying:  # it was not touched; one that answers rubbish is restarted, as by any switch to it
        switch.ensure_ready_locked(now.new.plan, agent, now.report)
    names = [agent["name"] for agent in now.starting]
    return {"serving": [*names, *(agent["name"] for agent in now.staying)], "changed": names, "stages": now.stages}


def _begin(now: Deployment) -> None:
    """Keep both sets, and note that one is about to take the place of the other. Raises RoundhouseError."""
    try:
        served.record(now.old, served=True)
        now.new.keep(served.folder(now.new.name))
        deploying.begin(now.old, now.new, [agent["name"] for agent in now.back])
    except OSError as error:
        raise state.unwritable(served.FOLDER, error) from None
    if now.starting:
        try:
            now.log.begin()
        except RoundhouseError:
            deploying.end()
            raise


def _forward(now: Deployment) -> None:
    gone = [agent["unit"] for agent in now.leaving]
    if now.leaving:
        timed(now, "stop", lambda: leave.leave(now.leaving, now.drain_seconds, now.report, now.log.note))
    # While nobody runs that its files are of: who leaves leaves as its own unit says.
    timed(now, "place", lambda: now.new.put(now.old))
    for agent in now.starting:
        timed(now, "free", partial(card.wait_until_free, agent, gone, now.log.note))
        timed(now, "start", partial(start, agent, now.report, now.log.note))
        timed(now, "canary", partial(canary.verify, now.new.plan, agent, Engine(agent["host"], agent["engine_port"])))


def _way_back(now: Deployment, error: BaseException) -> NoReturn:
    stage, why = told(f"the deployment of the plan {now.new.name}", error)
    outcome = history.BACK
    with deaf_to_signals():
        now.report(why)
        now.log.phase("back", now.stages)
        try:
            gone = _undo(now)
            for other in now.back:
                now.report(f"bringing {other['name']} back as it was")
                bring_back(now, now.old.plan, other, gone)
        except Exception as second:
            outcome, stage = history.LOST, "restore"
            why = f"{why} The plan before did not come back either: {told('the way back', second)[1]}"
        if now.old.is_in_place(now.new):  # else the next run has it to do
            deploying.end()
            now.log.end()
            why = f"{why} The plan {now.old.name} is in place again."
        _remember(now, outcome, why)
        gateway.follow(now.old.plan, now.report)
    raise RoundhouseError(stage, f"{why} {switch.who_serves(now.old.plan)}") from None


def _undo(now: Deployment) -> list[str]:
    """Stop what the new set started, put the old one back, and return the units that were stopped."""
    stay = {agent["name"] for agent in now.staying}
    started: list[Agent] = []
    if not now.old.is_in_place(now.new):  # else nobody runs whose files are new
        running = [agent for agent in now.new.plan["agents"] if units.state(agent["unit"]) in UP]
        started = [agent for agent in running if agent["name"] not in stay]
        leave.leave(started, 0, now.report, now.log.note)
    now.old.put(now.new)
    for agent in now.new.plan["agents"]:
        if now.old.agent(agent["name"]) is None:
            units.forgive(agent["unit"])  # a unit that is gone, and failed, would be listed for ever
    return [agent["unit"] for agent in started]


def _remember(now: Deployment, outcome: str, cause: str | None) -> None:
    names = [agent["name"] for agent in now.back]
    entry = now.log.entry
    turn.keep(history.Entry(entry["began"], names, entry["to"], outcome, now.stages, 0, cause), now.report)
