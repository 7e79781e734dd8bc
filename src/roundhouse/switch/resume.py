"""Start the last active agents again: at boot, and at the end of a deployment.

An active agent is restarted if its configuration, engine or environment was deployed after its start. If no agent was
active before, the first agent of the roster on each GPU is started.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypedDict

from ..agents.drain import UP
from ..agents.drift import is_outdated
from ..agents.prestart_checks import check
from ..errors import RoundhouseError, interrupted
from ..gateway import haproxy
from ..host import systemd
from ..plan import deployed
from ..plan.deployed import find
from ..schema.plan import Agent, Plan
from ..state import serving as state_serving
from ..state import switch_journal
from ..state.note import Report
from . import context, deploy_journal, transaction
from .rollback import signals_ignored


class ResumeResult(TypedDict):
    """Names of agents: the active ones, and those that were started or restarted."""

    serving: list[str]
    changed: list[str]


def resume(report: Report) -> ResumeResult:
    """Make the agents active that should be. Raises RoundhouseError if one of them fails."""
    with state_serving.switching(switch_journal.describe):
        return resume_locked(deploy_journal.plan_in_force(report), report)


def resume_locked(plan: Plan, report: Report) -> ResumeResult:
    """Do what `resume` does, for a caller that holds the lock."""
    serving = wanted(plan, report)
    up = [agent for agent in plan["agents"] if systemd.state(agent["unit"]) in UP]
    outdated = [agent for agent in serving if _is_outdated(plan, agent)]
    # After a change of the roster, an agent may run on a GPU that now belongs to another agent.
    stopping = [agent for agent in up if agent not in serving] + outdated
    errors: dict[str, RoundhouseError] = {}
    for agent in serving:
        if agent in outdated or agent not in up:
            with _keep_error(errors, agent):
                check(agent, [other["unit"] for other in stopping])
    # An agent that cannot start with the new plan continues to run with the old one.
    staying = [agent for agent in stopping if {agent["name"], *agent["conflicts"]} & errors.keys()]
    _stop(plan, [agent for agent in stopping if agent not in staying], report)
    changed = _start_all(plan, [agent for agent in serving if agent["name"] not in errors], report, errors)
    if not any(error.code == "interrupted" for error in errors.values()):
        _end_journal(report)
        haproxy.publish_routes(plan, report)
    if errors:
        raise context.with_sentence(_all(errors), transaction.active_agents(plan))
    return {"serving": [agent["name"] for agent in serving], "changed": changed}


def _stop(plan: Plan, agents: list[Agent], report: Report) -> None:
    """Stop agents that a start replaces; the gateway holds their requests, which a stopping engine refuses."""
    if not agents:
        return
    with signals_ignored():  # a signal after a stop and before a record would leave no active agent
        haproxy.publish_routes(plan, report, held=[agent["name"] for agent in agents])
        for agent in agents:
            report(f"{agent['name']} runs with an earlier deployment: stopping it")
            systemd.stop(agent["unit"])


def _end_journal(report: Report) -> None:
    """End a killed switch that no start completed or rolled back, such as one whose agents fail their checks."""
    if killed := switch_journal.killed():
        context.record_killed(killed, report)
    transaction.on_disk(report, switch_journal.remove)


def _start_all(plan: Plan, agents: list[Agent], report: Report, errors: dict[str, RoundhouseError]) -> list[str]:
    """Start the agents and return those that were not ready before; keep the error of each that fails.

    An interrupt ends only the waiting: the starts continue, as after start_only().
    """
    changed = []
    for position, agent in enumerate(agents):
        with _keep_error(errors, agent):
            try:
                if transaction.ensure_ready_locked(plan, agent, report, keep_start=True)["changed"]:
                    changed.append(agent["name"])
            except KeyboardInterrupt:  # during its canary, which changes nothing
                raise interrupted() from None
        if agent["name"] in errors and errors[agent["name"]].code == "interrupted":
            _queue(agents[position + 1 :], errors)
            break
    return changed


def _queue(agents: list[Agent], errors: dict[str, RoundhouseError]) -> None:
    """Queue the starts of the agents, for systemd to do."""
    with signals_ignored():
        for agent in agents:
            with _keep_error(errors, agent):
                systemd.start(agent["unit"])


def start_only(report: Report) -> list[str]:
    """Queue the starts of the agents that should be active, and return their names. A boot does not wait for engines.

    A switch that was cut off by the end of the machine was not committed, so its previous agents are started. While
    another command holds the lock, its switch continues, and the plan in place is the one to start.
    """
    try:
        with state_serving.switching(switch_journal.describe):
            return _start_only(_plan_at_boot(report), report, recover=True)
    except RoundhouseError as error:
        if error.code != state_serving.RUNNING:
            raise
    return _start_only(deployed.load(deployed.PATH), report, recover=False)


def _plan_at_boot(report: Report) -> Plan:
    try:
        return deploy_journal.plan_in_force(report)
    except RoundhouseError as error:  # a full disk or a damaged file; the plan in place is better than no agent
        report(error.message)
        return deployed.load(deployed.PATH)


def _start_only(plan: Plan, report: Report, *, recover: bool) -> list[str]:
    serving = wanted(plan, report)
    names = [agent["name"] for agent in serving]
    if recover:
        if killed := switch_journal.killed():
            context.record_killed(killed, report, finished=killed.to in names)
        transaction.on_disk(report, switch_journal.remove)
    haproxy.publish_routes(plan, report)
    errors: dict[str, RoundhouseError] = {}
    _queue(serving, errors)
    if errors:
        raise _all(errors)
    return names


def _is_outdated(plan: Plan, agent: Agent) -> bool:
    try:
        return is_outdated(plan, agent, systemd.show(agent["unit"]))
    except RoundhouseError:  # the unit is missing, which the check reports
        return False


@contextmanager
def _keep_error(errors: dict[str, RoundhouseError], agent: Agent) -> Iterator[None]:
    """Keep an agent's error, so that the agents of other GPUs still start."""
    try:
        yield
    except RoundhouseError as error:
        errors[agent["name"]] = error


def _all(errors: dict[str, RoundhouseError]) -> RoundhouseError:
    """Return one error for all: a single one unchanged, several as `resume_failed`."""
    if len(errors) == 1:
        return next(iter(errors.values()))
    told = errors.values()
    remedy = " ".join(dict.fromkeys(error.remedy for error in told if error.remedy))
    made = RoundhouseError("resume_failed", " ".join(error.text for error in told), remedy)
    made.fields = {"agents": [*errors], "errors": [error.as_json() for error in told]}
    return made


def wanted(plan: Plan, report: Report) -> list[Agent]:
    """Return the agents that should be active: per GPU the active one, the last active one, or the roster's first."""
    running = [agent["name"] for agent in plan["agents"] if systemd.state(agent["unit"]) in ("ready", "starting")]
    known = [agent["name"] for agent in plan["agents"]]
    try:
        served = state_serving.serving()
    except RoundhouseError as error:  # the roster's first agent is better than none
        report(error.message)
        served = []
    if (killed := switch_journal.killed()) and killed.to not in [*running, *served]:
        # It is rolled back: the agents that were active when it began come first. If its agent is starting, it is
        # completed instead. If it was committed and killed before its journal was removed, it is complete.
        running = [*(name for name in killed.previous if name in known), *running]
    names: list[str] = []
    for name in [*running, *(name for name in served if name in known), *known]:
        if name not in names and not set(find(plan, name)["conflicts"]) & set(names):
            names.append(name)
    return [find(plan, name) for name in names]
