"""The switch: one agent takes the place of the others on its cards, or those serve again.

check -> drain and stop -> free -> start -> ready -> canary -> commit. Whatever fails before the commit, the previous
agents are started again and must answer too. A switch that is killed half-way leaves its journal: the next one knows
from it which agents served, and finishes it or rolls it back.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NoReturn

from ..agents import canary, drain
from ..agents.prestart_checks import check
from ..errors import RoundhouseError, interrupted
from ..gateway import haproxy
from ..host import systemd
from ..plan.deployed import find
from ..schema.plan import Agent, Plan
from ..state import history, serving, switch_journal
from ..state.note import Report
from . import context, deploy_journal, rollback
from .context import Switch, SwitchResult


def ensure_ready(
    plan: Plan, name: str, report: Report, *, drain_seconds: float = drain.DEFAULT_SECONDS, wait: bool = False
) -> SwitchResult:
    """Bring an agent to ready and return {"agent", "changed", "from", "stages", "cut", "answer"}.

    `stages` holds the seconds of each phase, `cut` the requests that did not end within the drain. Raises UsageError
    for an unknown name and RoundhouseError when the switch failed; its text says which agent serves now.
    """
    find(plan, name)
    with serving.switching(switch_journal.describe, wait=context.report_wait_once(report) if wait else None):
        plan = deploy_journal.plan_in_force(plan, report)
        agent = find(plan, name)
        try:
            return ensure_ready_locked(plan, agent, report, drain_seconds)
        except RoundhouseError as error:
            raise context.with_sentence(error, active_agents(plan)) from None


def ensure_ready_locked(
    plan: Plan,
    agent: Agent,
    report: Report,
    drain_seconds: float = drain.DEFAULT_SECONDS,
    *,
    keep_start: bool = False,
) -> SwitchResult:
    """Do what ensure_ready does, for a caller that holds the lock and adds active_agents() to an error.

    `keep_start`: an interrupt ends only the waiting, and the agent's start continues. Else it causes a rollback.
    """
    killed = switch_journal.killed()
    if killed:
        report(f"a switch to {killed.to} was killed in its phase {killed.phase}: going on from there")
        if not {killed.to, *killed.previous} & {agent["name"], *agent["conflicts"]}:  # it concerns another card
            _finish_other_card(plan, killed, report)
            killed = None
    now = context.prepare(plan, agent, killed, drain_seconds, report)
    found = systemd.show(agent["unit"]).state
    if found == "ready" and (answer := _answer_of_ready(now, killed)) is not None:
        return context.result(now, answer, changed=False)
    _begin(now, killed)
    haproxy.publish_routes(plan, report)
    try:
        answer = _forward(now, restart=found in ("ready", "draining"))
    except BaseException as error:
        # An agent that was starting before this command is not this command's to stop.
        if isinstance(error, KeyboardInterrupt) and (keep_start or (found == "starting" and not killed)):
            raise leave_starting(now) from None
        _roll_back(now, error)
    finally:
        haproxy.publish_routes(plan, report)
    now.record(history.DONE)
    report(f"{agent['name']} is ready on port {agent['port']}")
    return context.result(now, answer, changed=True)


def leave_starting(now: Switch) -> RoundhouseError:
    """End a switch whose agent's start continues, record it as interrupted, and return the error.

    The unit's own hook records the agent as active once it is ready.
    """
    name = now.agent["name"]
    with rollback.signals_ignored():
        if systemd.state(now.agent["unit"]) not in ("ready", "starting"):
            systemd.start(now.agent["unit"])  # which stops the agents that exclude it
        now.log.end()
        sentence = "The start of {} continues: `roundhouse status` shows it, `roundhouse stop {}` stops it."
        error = context.with_sentence(interrupted(), sentence.format(name, name))
        now.record(history.INTERRUPTED, error)
    return error


def active_agents(plan: Plan) -> str:
    """Return the sentence that ends every failure: which agents serve now."""
    # The unit too: another program may answer on the port.
    ready = [agent for agent in plan["agents"] if systemd.state(agent["unit"]) == "ready"]
    serve = [agent for agent in ready if canary.answers(agent)]
    told = [f"{agent['name']} serves on port {agent['port']}" for agent in serve] or ["No agent serves now"]
    told += [f"{agent['name']} is up and does not answer as it should" for agent in ready if agent not in serve]
    return " and ".join(told) + "."


def _finish_other_card(plan: Plan, killed: switch_journal.Killed, report: Report) -> None:
    """Finish or undo a killed switch of another card, before a switch that would overwrite its journal."""
    known = {agent["name"]: agent for agent in plan["agents"]}
    forward = killed.to in known and systemd.state(known[killed.to]["unit"]) in ("ready", "starting")
    for name in [killed.to] if forward else [name for name in killed.previous if name in known]:
        try:
            ensure_ready_locked(plan, find(plan, name), report)
        except RoundhouseError as error:  # of that card alone
            report(error.message)
    switch_journal.path().unlink(missing_ok=True)
    haproxy.publish_routes(plan, report)


def _answer_of_ready(now: Switch, killed: switch_journal.Killed | None) -> str | None:
    """Return the answer of an agent that is ready; None when it gives none, and is to be restarted."""
    agent = now.agent
    try:
        answer = now.timed("canary", partial(canary.verify, now.plan, agent))
    except canary.ChangedAnswer as error:  # it serves, and was asked for nothing else: that is no reason to stop it
        now.report(f"{error.message} {agent['name']} goes on serving.")
        answer = error.answer
    except RoundhouseError as error:
        now.report(f"{error.message} Restarting {agent['name']}")
        return None
    now.report(f"{agent['name']} is ready already on port {agent['port']}")
    if killed:
        serving.record(agent["name"], agent["conflicts"])
        context.record_killed(killed, now.report, finished=killed.to == agent["name"])
        now.log.end()
        haproxy.publish_routes(now.plan, now.report)
    return answer


def _begin(now: Switch, killed: switch_journal.Killed | None) -> None:
    """Check what is known to fail, and write the journal. Raises RoundhouseError; nothing was stopped by then."""
    try:
        check(now.agent, [other["unit"] for other in now.stopping])
        now.log.begin()
    except RoundhouseError as error:
        if killed:  # the agents that served then may not serve now
            _roll_back(now, error)
        now.record(history.REFUSED, error)
        raise
    if killed:
        context.record_killed(killed, now.report)


def _forward(now: Switch, *, restart: bool) -> str:
    # Written before anything is stopped, so that the commit takes no room on a disk that is full by then.
    with serving.prepared(now.agent["name"], now.agent["conflicts"]) as commit:
        stopping = [*now.stopping, *([now.agent] if restart else [])]
        now.stop(stopping)
        answer = now.start(now.plan, now.agent, stopping)
        now.log.phase("commit", now.stages)
        commit()
    now.log.end()
    return answer


def _roll_back(now: Switch, error: BaseException) -> NoReturn:
    """Bring the previous agents back, and raise RoundhouseError with what happened."""
    what = f"The switch to {now.agent['name']}"
    # A killed switch may have left another agent half-way up, which was never committed.
    failed = [now.agent, *(other for other in now.stopping if other not in now.previous)]

    def stop_failed() -> list[str]:
        try:
            drain.drain(failed, 0, now.report, now.log.note)
        except Exception as second:  # whatever is wrong with this unit, the previous agents must come back
            now.report(rollback.as_error(what, second).message)
        return [each["unit"] for each in failed]

    with rollback.signals_ignored():
        failure = rollback.roll_back(now, what, error, now.plan, stop_failed)
        _close(now)
        now.record(rollback.outcome(now, failure), failure)
    raise failure from None


def _close(now: Switch) -> None:
    """Record the serving agents: a signal between the commit and its end comes here with the failed one on record."""
    steps: tuple[Callable[[], None], ...] = (partial(_record_previous, now), now.log.end)
    for step in steps:
        try:
            step()
        except (OSError, RoundhouseError) as error:  # the units tell the next call the same
            now.report(f"the state on disk was left as it is: {error}")


def _record_previous(now: Switch) -> None:
    if now.agent["name"] in serving.serving():
        for other in now.previous:
            serving.record(other["name"], other["conflicts"])
