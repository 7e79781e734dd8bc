"""Deploy a set of plan and files in place of the previous one, as a transaction.

check -> stop -> place -> free -> start -> canary -> commit, for every active agent whose files change. A failure before
the commit restores the old set and its agents. site.yml, an upgrade and a rollback to an earlier plan use this module.
The files of a set alone define what it starts, and in which runtime.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import NoReturn, TypedDict

from ..agents import drain, prestart_checks
from ..agents.drain import UP
from ..gateway import haproxy, haproxy_config, on_demand
from ..host import systemd
from ..plan import plan_sets
from ..plan.plan_sets import PlanSet
from ..plan.staged_files import Staged
from ..schema.plan import Agent
from ..state import history, serving, switch_journal
from ..state.note import Report
from . import context, deploy_journal, next_run, resume, rollback, transaction
from .context import Transaction


@dataclass(frozen=True)
class Deployment(Transaction):
    """One running deployment. The agents of `stopping` and `previous` belong to the old set, the others to the new."""

    new: PlanSet
    old: PlanSet
    starting: list[Agent]
    staying: list[Agent]  # active, with unchanged files
    stopping: list[Agent]
    staged: list[Staged] = field(default_factory=list)  # the new files, then the old ones, once it has begun

    @property
    def cause(self) -> str:
        """Return the transaction, as the clients of a stopped agent read it."""
        return "a deployment"


class Exchanged(TypedDict):
    """The agents after a deployment, by name."""

    serving: list[str]
    changed: list[str]  # those that were started
    stages: dict[str, float]


class DeployResult(Exchanged):
    """The result of deploy(). `moved`: files changed."""

    plan: str
    moved: bool


def deploy(
    new: PlanSet, report: Report, *, drain_seconds: float = drain.DEFAULT_SECONDS, start_agents: bool = True
) -> DeployResult:
    """Put a set in place and start its agents, for the holder of the lock.

    Raises RoundhouseError if the old set had to be restored; its text has the cause and the active agents.
    """
    killed = deploy_journal.undo_killed(report)
    old, proved = plan_sets.current()
    moved = not new.is_in_place(old)
    done: Exchanged = {"serving": [], "changed": [], "stages": {}}
    if moved and old and proved and start_agents:
        done = _exchange(prepare(new, old, killed, drain_seconds, report))
    else:
        if moved:
            _place(new, old, report)
        if start_agents:
            resumed = resume.resume_locked(new.plan, report)
            done = {"serving": resumed["serving"], "changed": resumed["changed"], "stages": {}}
    if moved or not proved:
        try:
            plan_sets.record(new, served=start_agents)
        except OSError as error:
            raise serving.unwritable(plan_sets.FOLDER, error) from None
    haproxy_config.follow(new.plan, report)
    on_demand.note_deployment(report)
    return {"plan": new.name, "moved": moved, **done}


def prepare(
    new: PlanSet, old: PlanSet, killed: deploy_journal.Killed | None, drain_seconds: float, report: Report
) -> Deployment:
    """Return the deployment, without a change on the host."""
    up = [agent.copy() for agent in old.plan["agents"] if systemd.state(agent["unit"]) in UP]
    wanted = [agent.copy() for agent in resume.wanted(new.plan, report)]
    running = {agent["name"] for agent in up}
    staying = [agent for agent in wanted if agent["name"] in running and not new.restarts(agent["name"])]
    stay = {agent["name"] for agent in staying}
    starting = [agent for agent in wanted if agent["name"] not in stay]
    stopping = [agent for agent in up if agent["name"] not in stay]
    names = killed.serving if killed else [agent["name"] for agent in stopping]
    previous = [agent for name in names if name not in stay and (agent := old.agent(name))]
    log = switch_journal.Journal((starting or staying)[0]["name"], [agent["name"] for agent in previous])
    return Deployment(
        new=new,
        old=old,
        starting=starting,
        staying=staying,
        stopping=stopping,
        previous=previous,
        drain_seconds=drain_seconds,
        report=report,
        log=log,
    )


def _place(new: PlanSet, old: PlanSet | None, report: Report) -> None:
    """Put a set in place, without a rollback."""
    lost = [agent for agent in old.plan["agents"] if new.agent(agent["name"]) is None] if old else []
    for agent in lost:
        if systemd.state(agent["unit"]) in UP:
            report(f"{agent['name']} is no longer in the roster: stopping it")
            systemd.stop(agent["unit"])
    try:
        new.put(old)
        plan_sets.record(new, served=False)
    except OSError as error:
        raise serving.unwritable(plan_sets.FOLDER, error) from None


def _exchange(now: Deployment) -> Exchanged:
    for agent in now.starting:
        prestart_checks.check_host(agent, [other["unit"] for other in now.stopping])
    try:
        _begin(now)
        haproxy.publish_routes(now.old.plan, now.report)
        # Written before any agent is stopped, as in a switch.
        with serving.prepared([(agent["name"], agent["conflicts"]) for agent in now.starting]) as record_active:
            _forward(now)
            with rollback.signals_ignored():  # the record of the plan is the commit
                plan_sets.record(now.new, served=True)
                # By itself: a disk that is read-only by now does not undo the deployment.
                transaction.on_disk(now.report, record_active)
    except BaseException as error:
        if not now.staged:  # nothing was stopped
            raise
        _roll_back(now, error)
    # The extra files last, because a rollback on a read-only disk could not restore them.
    transaction.on_disk(now.report, now.staged[0].remove_extra, deploy_journal.end, now.log.end)
    haproxy.publish_routes(now.new.plan, now.report)
    now.staged[1].discard()
    if now.starting:
        now.record(history.DONE)
    for agent in now.staying:  # if its canary fails, it is restarted, as by any switch to it
        transaction.ensure_ready_locked(now.new.plan, agent, now.report)
    names = [agent["name"] for agent in now.starting]
    return {"serving": [*names, *(agent["name"] for agent in now.staying)], "changed": names, "stages": now.stages}


def _begin(now: Deployment) -> None:
    """Write all that the deployment and its rollback need, and record that one set replaces the other.

    Raises RoundhouseError, without a change.
    """
    staged: list[Staged] = []
    try:
        plan_sets.record(now.old, served=True)
        now.new.keep(plan_sets.folder(now.new.name))
        staged += [now.new.stage(now.old), now.old.stage_undo(now.new)]
        deploy_journal.begin(now.old, now.new, [agent["name"] for agent in now.previous])
        if now.starting:
            now.log.begin()
    except BaseException as error:
        _withdraw(now, staged)
        if isinstance(error, OSError):
            raise serving.unwritable(plan_sets.FOLDER, error) from None
        raise
    now.staged.extend(staged)


def _withdraw(now: Deployment, staged: list[Staged]) -> None:
    """End a deployment that has not begun."""
    for each in staged:
        each.discard()
    transaction.on_disk(now.report, deploy_journal.end, *([now.log.end] if now.log.begun else []))


def _forward(now: Deployment) -> None:
    now.stop(now.stopping)
    # After the stop, because an agent stops as its present unit file defines.
    now.timed("place", now.staged[0].put)
    for agent in now.starting:
        now.start(now.new.plan, agent, now.stopping)


def _roll_back(now: Deployment, error: BaseException) -> NoReturn:
    """Restore the old set and its agents, and raise RoundhouseError with the cause."""
    with rollback.signals_ignored():
        what = f"The deployment of the plan {now.new.name}"
        failure = rollback.roll_back(now, what, error, now.old.plan, partial(_undo, now))
        if now.old.is_in_place(now.new):  # otherwise the next run restores it
            transaction.on_disk(now.report, deploy_journal.end, now.log.end)
            failure = context.with_sentence(failure, f"The plan {now.old.name} is in place again.")
            told = next_run.after_rollback(now.old, now.new)
            failure.remedy = " ".join(filter(None, (failure.remedy, told)))
        now.record(rollback.outcome(now, failure), failure)
        haproxy.publish_routes(now.old.plan, now.report)
    raise context.with_sentence(failure, transaction.active_agents(now.old.plan)) from None


def _undo(now: Deployment) -> list[str]:
    """Stop the agents of the new set, restore the old set, and return the stopped units."""
    if now.old.is_in_place(now.new):  # no unit has new files
        for each in now.staged:
            each.discard()
        return []
    stay = {agent["name"] for agent in now.staying}
    running = [agent for agent in now.new.plan["agents"] if systemd.state(agent["unit"]) in UP]
    started = [agent for agent in running if agent["name"] not in stay]
    drain.drain(started, 0, now.report, now.log.note)
    now.staged[0].discard()
    now.staged[1].put()
    now.staged[1].remove_extra()
    for agent in now.new.plan["agents"]:
        if now.old.agent(agent["name"]) is None:
            systemd.reset_failed(agent["unit"])  # a removed unit that failed would stay listed
    return [agent["unit"] for agent in started]
