"""The switch: put one agent on the track, or leave the one that was there.

check -> drain and stop -> free -> start -> ready -> canary -> commit. Whatever fails before the commit, the agents that
served before are started again and must answer too. A switch that is killed half-way leaves its journal: whoever comes
next knows from it who served, and finishes it or goes back.
"""

from __future__ import annotations

from typing import Any

from ..agents import canary, drain, gpu_memory
from ..agents.prestart_checks import check
from ..agents.start import start
from ..errors import RoundhouseError
from ..gateway import haproxy
from ..host import systemd
from ..plan.deployed import DRAIN_SECONDS, Agent, Plan, find
from ..state import history, serving, switch_journal
from ..vllm.client import Engine
from . import context, deploy_journal
from .context import Report, Turn, timed
from .recovery import way_back


def ensure_ready(
    plan: Plan, name: str, report: Report, *, drain_seconds: float = DRAIN_SECONDS, wait: bool = False
) -> dict[str, Any]:
    """Bring `name` to ready and return {"agent", "changed", "from", "stages", "cut", "answer"}.

    `stages` holds the seconds of each phase, `cut` the requests that did not end within the drain. Raises UsageError
    for an unknown name and RoundhouseError when the switch failed; its text says who serves now.
    """
    find(plan, name)
    with serving.switching(switch_journal.told, wait=context.waiting(report) if wait else None):
        plan = deploy_journal.settled(plan, report)
        agent = find(plan, name)
        try:
            return ensure_ready_locked(plan, agent, report, drain_seconds)
        except RoundhouseError as error:
            raise RoundhouseError(error.code, f"{error.message} {who_serves(plan)}") from None


def ensure_ready_locked(
    plan: Plan, agent: Agent, report: Report, drain_seconds: float = DRAIN_SECONDS, *, restart: bool = False
) -> dict[str, Any]:
    """Do what ensure_ready does, for a caller that holds the lock and says who serves; or restart who is ready."""
    left = switch_journal.left()
    if left:
        report(f"a switch to {left.to} was killed in its phase {left.phase}: going on from there")
        if not _concerns(agent, left):
            _settle(plan, left, report)
            left = None
    now = context.make(plan, agent, left, drain_seconds, report)
    found = systemd.show(agent["unit"]).state
    if found == "ready" and not restart and (answer := _ready_already(now, left)) is not None:
        return context.result(now, answer, changed=False)
    try:
        check(agent, [other["unit"] for other in now.leaving])
        now.log.begin()
    except RoundhouseError as error:
        if left:  # who served then may not serve now
            way_back(now, error)
        context.remember(now, history.REFUSED, error.message)
        raise
    if left:
        context.remember_killed(left, report)
    haproxy.follow(plan, report)
    try:
        answer = _forward(now, restart=found in ("ready", "draining"))
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and found == "starting" and not left:
            # It was on its way before this command came, so it is not this command's to stop.
            now.log.end()
            raise RoundhouseError("interrupted", f"interrupted; {agent['name']} goes on starting.") from None
        way_back(now, error)
    finally:
        haproxy.follow(plan, report)
    context.remember(now, history.DONE, None)
    report(f"{agent['name']} is ready on port {agent['port']}")
    return context.result(now, answer, changed=True)


def who_serves(plan: Plan) -> str:
    """Return the sentence that ends every failure."""
    # The unit too: somebody else may answer on the port.
    ready = [agent for agent in plan["agents"] if systemd.state(agent["unit"]) == "ready"]
    serve = [agent for agent in ready if canary.answers(agent, _engine(agent))]
    told = [f"{agent['name']} serves on port {agent['port']}" for agent in serve] or ["No agent serves now"]
    told += [f"{agent['name']} is up and does not answer as it should" for agent in ready if agent not in serve]
    return " and ".join(told) + "."


def _concerns(agent: Agent, left: switch_journal.Left) -> bool:
    return bool({left.to, *left.previous} & {agent["name"], *agent["conflicts"]})


def _settle(plan: Plan, left: switch_journal.Left, report: Report) -> None:
    """Finish or undo a killed switch of another card, before a switch that would overwrite its journal."""
    known = {agent["name"]: agent for agent in plan["agents"]}
    forward = left.to in known and systemd.state(known[left.to]["unit"]) in ("ready", "starting")
    for name in [left.to] if forward else [name for name in left.previous if name in known]:
        try:
            ensure_ready_locked(plan, find(plan, name), report)
        except RoundhouseError as error:  # it is that card's trouble, and its sentence
            report(error.message)
    switch_journal.path().unlink(missing_ok=True)
    haproxy.follow(plan, report)


def _ready_already(now: Turn, left: switch_journal.Left | None) -> str | None:
    """Return the answer of an agent that is ready; None when it gives none, and is to be restarted."""
    agent = now.agent
    try:
        answer: str = timed(now, "canary", lambda: canary.verify(now.plan, agent, _engine(agent)))
    except canary.Another as error:  # it serves, and was asked for nothing else: that is no reason to stop it
        now.report(f"{error.message} {agent['name']} goes on serving.")
        answer = error.answer
    except RoundhouseError as error:
        now.report(f"{error.message} Restarting {agent['name']}")
        return None
    now.report(f"{agent['name']} is ready already on port {agent['port']}")
    if left:
        serving.record(agent["name"], agent["conflicts"])
        context.remember_killed(left, now.report, finished=left.to == agent["name"])
        now.log.end()
        haproxy.follow(now.plan, now.report)
    return answer


def _forward(now: Turn, *, restart: bool) -> str:
    # Written before anything is stopped, so that the commit takes no room on a disk that is full by then.
    with serving.prepared(now.agent["name"], now.agent["conflicts"]) as commit:
        answer = _turn_to(now, restart=restart)
        now.log.phase("commit", now.stages)
        commit()
    now.log.end()
    return answer


def _turn_to(now: Turn, *, restart: bool) -> str:
    agent = now.agent
    leaving = [*now.leaving, *([agent] if restart else [])]
    if leaving:
        timed(now, "stop", lambda: now.cuts.append(_leave(now, leaving)))
    if systemd.state(agent["unit"]) != "starting":
        gone = [other["unit"] for other in leaving]
        timed(now, "free", lambda: gpu_memory.wait_until_free(agent, gone, now.log.note))
    timed(now, "start", lambda: start(agent, now.report, now.log.note))
    return str(timed(now, "canary", lambda: canary.verify(now.plan, agent, _engine(agent))))


def _leave(now: Turn, agents: list[Agent]) -> int:
    return drain.leave(agents, now.drain_seconds, now.report, now.log.note)


def _engine(agent: Agent) -> Engine:
    return Engine(agent["host"], agent["engine_port"])
