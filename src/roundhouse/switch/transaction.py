"""Switch to an agent, or restore the previous agents.

check -> drain and stop -> free -> start -> ready -> canary -> commit. If a step before the commit fails, the previous
agents are started again and must answer their canary. A killed switch leaves its journal with the previous agents. The
next switch or the recovery (recovery.py) completes it or rolls it back.
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

    `stages` has the seconds of each phase, `cut` the number of requests that did not end within the drain. Raises
    UsageError for an unknown name, and RoundhouseError if the switch fails; its text names the active agents.
    """
    find(plan, name)
    with serving.switching(switch_journal.describe, wait=context.report_wait_once(report) if wait else None):
        plan = deploy_journal.plan_in_force(report)  # read after the wait, because a deployment may have changed it
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
    """Do the work of ensure_ready(), for a caller that holds the lock and adds active_agents() to an error.

    `keep_start`: an interrupt ends only the waiting, and the agent's start continues. Without it, an interrupt causes a
    rollback.
    """
    killed = switch_journal.killed()
    if killed:
        report(f"a switch to {killed.to} was killed in its phase {killed.phase}: continuing from there")
        if not {killed.to, *killed.previous} & {agent["name"], *agent["conflicts"]}:  # it belongs to another GPU
            _finish_other_card(plan, killed, report)
            killed = None
    now = context.prepare(plan, agent, killed, drain_seconds, report)
    found = systemd.show(agent["unit"]).state
    if found == "ready" and (answer := _answer_of_ready(now, killed)) is not None:
        return context.result(now, answer, changed=False)
    try:
        _begin(now, killed)
        haproxy.publish_routes(plan, report)
        answer = _forward(now, restart=found in ("ready", "draining"))
    except BaseException as error:
        if not now.log.begun:  # no agent was stopped, or the rollback is complete
            raise
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
        on_disk(now.report, now.log.end)
        sentence = "The start of {} continues: `roundhouse status` shows it, `roundhouse stop {}` stops it."
        error = context.with_sentence(interrupted(), sentence.format(name, name))
        now.record(history.INTERRUPTED, error)
    return error


def active_agents(plan: Plan) -> str:
    """Return the sentence at the end of every failure: the active agents."""
    try:  # The state of the unit counts too, because another program may answer on the port.
        ready = [agent for agent in plan["agents"] if systemd.state(agent["unit"]) == "ready"]
    except RoundhouseError as error:
        return f"The active agents are not known: {error.text}"
    active = [agent for agent in ready if canary.answers(agent)]
    parts = [f"{agent['name']} is active on port {agent['port']}" for agent in active] or ["No agent is active"]
    parts += [f"{agent['name']} runs but its canary failed" for agent in ready if agent not in active]
    return " and ".join(parts) + "."


def _finish_other_card(plan: Plan, killed: switch_journal.Killed, report: Report) -> None:
    """Complete or undo a killed switch of another GPU, before a switch that would overwrite its journal."""
    known = {agent["name"]: agent for agent in plan["agents"]}
    forward = killed.to in known and systemd.state(known[killed.to]["unit"]) in ("ready", "starting")
    for name in [killed.to] if forward else [name for name in killed.previous if name in known]:
        try:
            ensure_ready_locked(plan, find(plan, name), report)
        except RoundhouseError as error:  # of the other GPU
            report(error.message)
    on_disk(report, switch_journal.remove)
    haproxy.publish_routes(plan, report)


def _answer_of_ready(now: Switch, killed: switch_journal.Killed | None) -> str | None:
    """Return the answer of a ready agent; None if it gives none and has to be restarted."""
    agent = now.agent
    try:
        answer = now.timed("canary", partial(canary.verify, now.plan, agent))
    except canary.ChangedAnswer as error:  # a ready agent is not stopped for a different answer
        now.report(f"{error.message} {agent['name']} stays active.")
        answer = error.answer
    except RoundhouseError as error:
        now.report(f"{error.message} Restarting {agent['name']}.")
        return None
    now.report(f"{agent['name']} is already active on port {agent['port']}")
    if killed:
        context.record_killed(killed, now.report, finished=killed.to == agent["name"])
    # Always, because a killed command may have left another record, a note of a stop, or a closed gateway.
    on_disk(now.report, partial(serving.record, agent["name"], agent["conflicts"]), switch_journal.remove)
    haproxy.publish_routes(now.plan, now.report)
    return answer


def _begin(now: Switch, killed: switch_journal.Killed | None) -> None:
    """Check for known failures and write the journal. Raises RoundhouseError before any agent is stopped."""
    try:
        check(now.agent, [other["unit"] for other in now.stopping])
        now.log.begin()
    except RoundhouseError as error:
        if killed:  # its previous agents may not be active now
            _roll_back(now, error)
        now.record(history.REFUSED, error)
        raise
    if killed:
        context.record_killed(killed, now.report)


def _forward(now: Switch, *, restart: bool) -> str:
    # Written before any agent is stopped, so that the commit needs no space on a disk that is full by then.
    with serving.prepared([(now.agent["name"], now.agent["conflicts"])]) as commit:
        stopping = [*now.stopping, *([now.agent] if restart else [])]
        now.stop(stopping)
        answer = now.start(now.plan, now.agent, stopping)
        now.log.phase("commit", now.stages)
        commit()
    now.log.end()
    return answer


def _roll_back(now: Switch, error: BaseException) -> NoReturn:
    """Restore the previous agents, and raise RoundhouseError with the cause."""
    what = f"The switch to {now.agent['name']}"
    # A killed switch may have left another agent starting, which was never committed.
    failed = [now.agent, *(other for other in now.stopping if other not in now.previous)]

    def stop_failed() -> list[str]:
        try:
            drain.drain(failed, 0, now.report, now.log.note)
        except Exception as second:  # a fault of this unit must not prevent the start of the previous agents
            now.report(rollback.as_error(what, second).message)
        return [each["unit"] for each in failed]

    with rollback.signals_ignored():
        failure = rollback.roll_back(now, what, error, now.plan, stop_failed)
        _close(now)
        now.record(rollback.outcome(now, failure), failure)
    raise failure from None


def _close(now: Switch) -> None:
    """Record the active agents: after a signal between the commit and its end, the failed one is on record."""
    on_disk(now.report, partial(_record_previous, now), now.log.end)


def on_disk(report: Report, *steps: Callable[[], None]) -> None:
    """Do each step, and report those that the disk refuses: the next command reads the same from the units."""
    for step in steps:
        try:
            step()
        except (OSError, RoundhouseError) as error:
            report(f"the state on disk was not updated: {error}")


def _record_previous(now: Switch) -> None:
    if now.agent["name"] in serving.serving():
        for other in now.previous:
            serving.record(other["name"], other["conflicts"])
