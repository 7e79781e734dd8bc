"""A deployment: a new set of plan and files takes the place of the one before as a transaction.

check -> stop -> place -> free -> start -> canary -> commit, for every active agent whose files change. Whatever fails
before the commit puts the old set in place again, and the previous agents serve again. site.yml, an upgrade and a
rollback to an older plan all come here; what a set starts, in which runtime, stands in its files alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NoReturn, TypedDict

from ..agents import drain, prestart_checks
from ..agents.drain import UP
from ..errors import RoundhouseError
from ..gateway import haproxy, haproxy_config
from ..host import systemd
from ..plan import plan_sets
from ..plan.plan_sets import PlanSet
from ..schema.plan import Agent
from ..state import history, serving, switch_journal
from ..state.note import Report
from . import context, deploy_journal, resume, rollback, transaction
from .context import Transaction


@dataclass(frozen=True, kw_only=True)
class Deployment(Transaction):
    """One deployment while it runs. The agents of `stopping` and `previous` are of the old set, the rest of the new."""

    new: PlanSet
    old: PlanSet
    starting: list[Agent]
    staying: list[Agent]  # they serve and are not touched
    stopping: list[Agent]

    @property
    def cause(self) -> str:
        """Return the transaction, as the clients of a stopped agent read it."""
        return "a deployment"


class Exchanged(TypedDict):
    """What became of the agents, by name."""

    serving: list[str]
    changed: list[str]  # those that were started
    stages: dict[str, float]


class DeployResult(Exchanged):
    """What deploy() did. `moved` tells whether files changed."""

    plan: str
    moved: bool


def deploy(
    new: PlanSet, report: Report, *, drain_seconds: float = drain.DEFAULT_SECONDS, start_agents: bool = True
) -> DeployResult:
    """Put a set in place and start what serves by it. For the holder of the lock.

    Raises RoundhouseError when the old set had to come back; its text says why, and which agents serve now.
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
        plan_sets.record(new, served=start_agents)
    haproxy_config.follow(new.plan, report)
    return {"plan": new.name, "moved": moved, **done}


def prepare(
    new: PlanSet, old: PlanSet, killed: deploy_journal.Killed | None, drain_seconds: float, report: Report
) -> Deployment:
    """Return what a deployment is about; nothing is touched."""
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
    """Put a set in place where there is none to roll back to."""
    lost = [agent for agent in old.plan["agents"] if new.agent(agent["name"]) is None] if old else []
    for agent in lost:
        if systemd.state(agent["unit"]) in UP:
            report(f"{agent['name']} is no longer in the roster: stopping it")
            systemd.stop(agent["unit"])
    new.put(old)
    plan_sets.record(new, served=False)


def _exchange(now: Deployment) -> Exchanged:
    for agent in now.starting:
        prestart_checks.check_host(agent, [other["unit"] for other in now.stopping])
    _begin(now)
    haproxy.publish_routes(now.old.plan, now.report)
    try:
        _forward(now)
        with rollback.signals_ignored():  # once it is written it is done
            plan_sets.record(now.new, served=True)
    except BaseException as error:
        _roll_back(now, error)
    deploy_journal.end()
    for agent in now.starting:
        serving.record(agent["name"], agent["conflicts"])
    now.log.end()
    haproxy.publish_routes(now.new.plan, now.report)
    if now.starting:
        now.record(history.DONE)
    for agent in now.staying:  # it was not touched; one that fails its canary is restarted, as by any switch to it
        transaction.ensure_ready_locked(now.new.plan, agent, now.report)
    names = [agent["name"] for agent in now.starting]
    return {"serving": [*names, *(agent["name"] for agent in now.staying)], "changed": names, "stages": now.stages}


def _begin(now: Deployment) -> None:
    """Keep both sets, and note that one is about to replace the other. Raises RoundhouseError."""
    try:
        plan_sets.record(now.old, served=True)
        now.new.keep(plan_sets.folder(now.new.name))
        deploy_journal.begin(now.old, now.new, [agent["name"] for agent in now.previous])
    except OSError as error:
        raise serving.unwritable(plan_sets.FOLDER, error) from None
    if now.starting:
        try:
            now.log.begin()
        except RoundhouseError:
            deploy_journal.end()
            raise


def _forward(now: Deployment) -> None:
    now.stop(now.stopping)
    # While no unit runs that the files are of: an agent stops as its own unit says.
    now.timed("place", partial(now.new.put, now.old))
    for agent in now.starting:
        now.start(now.new.plan, agent, now.stopping)


def _roll_back(now: Deployment, error: BaseException) -> NoReturn:
    """Put the old set in place, bring its agents back, and raise RoundhouseError with what happened."""
    with rollback.signals_ignored():
        what = f"The deployment of the plan {now.new.name}"
        failure = rollback.roll_back(now, what, error, now.old.plan, partial(_undo, now))
        outcome = history.ROLLBACK_FAILED if failure.code == rollback.FAILED else history.ROLLED_BACK
        if now.old.is_in_place(now.new):  # else the next run has it to do
            deploy_journal.end()
            now.log.end()
            failure = context.with_sentence(failure, f"The plan {now.old.name} is in place again.")
        now.record(outcome, failure)
        haproxy.publish_routes(now.old.plan, now.report)
    raise context.with_sentence(failure, transaction.active_agents(now.old.plan)) from None


def _undo(now: Deployment) -> list[str]:
    """Stop what the new set started, put the old one back, and return the units that were stopped."""
    stay = {agent["name"] for agent in now.staying}
    started: list[Agent] = []
    if not now.old.is_in_place(now.new):  # else no unit runs whose files are new
        running = [agent for agent in now.new.plan["agents"] if systemd.state(agent["unit"]) in UP]
        started = [agent for agent in running if agent["name"] not in stay]
        drain.drain(started, 0, now.report, now.log.note)
    now.old.put(now.new)
    for agent in now.new.plan["agents"]:
        if now.old.agent(agent["name"]) is None:
            systemd.reset_failed(agent["unit"])  # a unit that is gone, and failed, would stay listed
    return [agent["unit"] for agent in started]
