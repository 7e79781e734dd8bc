"""A deployment: a new set of plan and files takes the place of the one before as a transaction.

check -> stop -> place -> free -> start -> canary -> commit, for every agent that serves and whose files are others.
Whatever fails before the commit puts the set before in place again, and who served serves again. site.yml, an upgrade
and a rollback are this one way; what a set starts, in which runtime, stands in its files alone.

What a deployment is about to do: what becomes another, who is away for it, and for how long at the most.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from ..agents import canary, drain, gpu_memory, prestart_checks
from ..agents.drain import UP
from ..agents.start import start
from ..errors import RoundhouseError
from ..gateway import haproxy
from ..host import docker, systemd
from ..models import safetensors
from ..plan import plan_sets
from ..plan.deployed import DRAIN_SECONDS, Agent, Plan
from ..plan.plan_sets import PlanSet
from ..state import history, serving, start_phases, switch_journal
from ..vllm.client import Engine
from . import context, deploy_journal, resume, transaction
from .context import Report, timed
from .recovery import bring_back, deaf_to_signals, told


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
    log: switch_journal.Journal
    stages: dict[str, float]


def deploy(new: PlanSet, report: Report, *, drain_seconds: float = DRAIN_SECONDS, start: bool = True) -> dict[str, Any]:
    """Put a set in place and return {"plan", "moved", "changed", "serving", "stages"}.

    `moved` tells whether files became others, `changed` names who was started. For who holds the lock. Raises
    RoundhouseError when the set before had to come back; its text says why, and who serves now.
    """
    left = deploy_journal.settle(report)
    old, proved = plan_sets.current()
    moved = not new.is_in_place(old)
    if moved and old and proved and start:
        done = _exchange(make(new, old, left, drain_seconds, report))
    else:
        if moved:
            _place(new, old, report)
        done = resume.resume_locked(new.plan, report) if start else {"serving": [], "changed": []}
    if moved or not proved:
        plan_sets.record(new, served=start)
    return {"plan": new.name, "moved": moved, "stages": {}, **done}


def make(
    new: PlanSet, old: PlanSet, left: deploy_journal.Left | None, drain_seconds: float, report: Report
) -> Deployment:
    """Return what a deployment is about; nothing is touched."""
    up = [dict(agent) for agent in old.plan["agents"] if systemd.state(agent["unit"]) in UP]
    wanted = [dict(agent) for agent in resume.wanted(new.plan, report)]
    running = {agent["name"] for agent in up}
    staying = [agent for agent in wanted if agent["name"] in running and not new.restarts(agent["name"])]
    stay = {agent["name"] for agent in staying}
    starting = [agent for agent in wanted if agent["name"] not in stay]
    leaving = [agent for agent in up if agent["name"] not in stay]
    names = left.serving if left else [agent["name"] for agent in leaving]
    back = [agent for name in names if name not in stay and (agent := old.agent(name))]
    log = switch_journal.Journal((starting or staying)[0]["name"], [agent["name"] for agent in back])
    return Deployment(new, old, starting, staying, leaving, back, drain_seconds, report, log, {})


def _place(new: PlanSet, old: PlanSet | None, report: Report) -> None:
    """Put a set in place where there is none to go back to."""
    lost = [agent for agent in old.plan["agents"] if new.agent(agent["name"]) is None] if old else []
    for agent in lost:
        if systemd.state(agent["unit"]) in UP:
            report(f"{agent['name']} is in the roster no more: stopping it")
            systemd.stop(agent["unit"])
    new.put(old)
    plan_sets.record(new, served=False)


def _exchange(now: Deployment) -> dict[str, Any]:
    for agent in now.starting:
        prestart_checks.check_host(agent, [other["unit"] for other in now.leaving])
    _begin(now)
    haproxy.follow(now.old.plan, now.report)
    try:
        _forward(now)
        with deaf_to_signals():  # once it is written it is done
            plan_sets.record(now.new, served=True)
    except BaseException as error:
        _way_back(now, error)
    deploy_journal.end()
    for agent in now.starting:
        serving.record(agent["name"], agent["conflicts"])
    now.log.end()
    haproxy.follow(now.new.plan, now.report)
    if now.starting:
        _remember(now, history.DONE, None)
    for agent in now.staying:  # it was not touched; one that answers rubbish is restarted, as by any switch to it
        transaction.ensure_ready_locked(now.new.plan, agent, now.report)
    names = [agent["name"] for agent in now.starting]
    return {"serving": [*names, *(agent["name"] for agent in now.staying)], "changed": names, "stages": now.stages}


def _begin(now: Deployment) -> None:
    """Keep both sets, and note that one is about to take the place of the other. Raises RoundhouseError."""
    try:
        plan_sets.record(now.old, served=True)
        now.new.keep(plan_sets.folder(now.new.name))
        deploy_journal.begin(now.old, now.new, [agent["name"] for agent in now.back])
    except OSError as error:
        raise serving.unwritable(plan_sets.FOLDER, error) from None
    if now.starting:
        try:
            now.log.begin()
        except RoundhouseError:
            deploy_journal.end()
            raise


def _forward(now: Deployment) -> None:
    gone = [agent["unit"] for agent in now.leaving]
    if now.leaving:
        timed(now, "stop", lambda: drain.leave(now.leaving, now.drain_seconds, now.report, now.log.note))
    # While nobody runs that its files are of: who leaves leaves as its own unit says.
    timed(now, "place", lambda: now.new.put(now.old))
    for agent in now.starting:
        timed(now, "free", partial(gpu_memory.wait_until_free, agent, gone, now.log.note))
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
            deploy_journal.end()
            now.log.end()
            why = f"{why} The plan {now.old.name} is in place again."
        _remember(now, outcome, why)
        haproxy.follow(now.old.plan, now.report)
    raise RoundhouseError(stage, f"{why} {transaction.who_serves(now.old.plan)}") from None


def _undo(now: Deployment) -> list[str]:
    """Stop what the new set started, put the old one back, and return the units that were stopped."""
    stay = {agent["name"] for agent in now.staying}
    started: list[Agent] = []
    if not now.old.is_in_place(now.new):  # else nobody runs whose files are new
        running = [agent for agent in now.new.plan["agents"] if systemd.state(agent["unit"]) in UP]
        started = [agent for agent in running if agent["name"] not in stay]
        drain.leave(started, 0, now.report, now.log.note)
    now.old.put(now.new)
    for agent in now.new.plan["agents"]:
        if now.old.agent(agent["name"]) is None:
            systemd.forgive(agent["unit"])  # a unit that is gone, and failed, would be listed for ever
    return [agent["unit"] for agent in started]


def _remember(now: Deployment, outcome: str, cause: str | None) -> None:
    names = [agent["name"] for agent in now.back]
    entry = now.log.entry
    context.keep(history.Entry(entry["began"], names, entry["to"], outcome, now.stages, 0, cause), now.report)


# A unit's stop, its start and systemd's reading of the units, beside the engine's own time.
_AROUND_SECONDS = 5.0
_OF_THE_PLAN = ("runtime", "accelerator")
_OF_AN_AGENT = ("model", "revision", "draft_model", "port")


class Outlook(NamedTuple):
    """`differences` are sentences; `restarts` the agents that are away for about `seconds` (None: not known yet).

    After `at_most_seconds` the port is answered again in any case: also when the new set fails and the old one is back.
    """

    differences: list[str]
    restarts: list[str]
    seconds: float | None
    at_most_seconds: float

    def text(self) -> list[str]:
        """Return it for a person."""
        if not self.restarts:
            return [*self.differences, "No agent that serves is touched."]
        names = " and ".join(self.restarts)
        about = "for as long as its first start takes" if self.seconds is None else f"for about {self.seconds:.0f} s"
        most = f"{self.at_most_seconds:.0f} s at the most"
        return [*self.differences, f"{names}: away {about}, {most}, also when the plan before has to come back."]


def outlook(now: Deployment) -> Outlook:
    """Return what the deployment is about to do."""
    known = [start_phases.known(agent) for agent in now.starting]
    learned = [each.seconds + _AROUND_SECONDS for each in known if each]
    most = now.drain_seconds + sum(_grace(agent) for agent in [*now.leaving, *now.starting])
    most += sum(_start(agent) for agent in [*now.starting, *now.back])
    return Outlook(
        differences(now.old.plan, now.new.plan),
        [agent["name"] for agent in now.starting],
        sum(learned) + _AROUND_SECONDS if len(learned) == len(known) else None,
        most,
    )


def differences(before: Plan, after: Plan) -> list[str]:
    """Return a sentence for each thing that is another in the plan."""
    found = [_other(name, before.get(name), after.get(name)) for name in _OF_THE_PLAN]
    found.append(_other("engine", plan_sets.engine(before), plan_sets.engine(after)))
    old = {agent["name"]: agent for agent in before["agents"]}
    new = {agent["name"]: agent for agent in after["agents"]}
    found += [f"{name} is in the roster no more" for name in old if name not in new]
    for name, agent in new.items():
        if name not in old:
            found.append(f"{name} is new: {agent['model']}")
            continue
        found += [_other(f"{name}: {key}", old[name].get(key), agent.get(key)) for key in _OF_AN_AGENT]
        had, has = old[name].get("config") or {}, agent.get("config") or {}
        keys = [key for key in {**had, **has} if key not in (*_OF_AN_AGENT, "speculative-config")]
        found += [_other(f"{name}: {key}", had.get(key), has.get(key)) for key in keys]
    return [sentence for sentence in found if sentence]


def missing(found: PlanSet) -> list[str]:
    """Return a sentence for each thing that a set needs and the host lacks: its engine or image, its models."""
    lost = []
    engine, image = Path(found.plan["engine_path"]), found.plan.get("image")
    if image and not docker.has_image(image):
        lost.append(f"its image {image} is not there any more: deploy it with the versions of then (site.yml)")
    if found.names(str(engine)) and not engine.exists():
        lost.append(f"its engine {engine} is not there any more: deploy it with the versions of then (site.yml)")
    for agent in found.plan["agents"]:
        for model, path, recipe in safetensors.of(agent):
            if problem := safetensors.problem(path):
                lost.append(f"{problem}: {safetensors.cure(model, recipe)}")
    return lost


def _other(what: str, before: Any, after: Any) -> str | None:
    return None if before == after else f"{what}: {_word(before)} -> {_word(after)}"


def _word(value: Any) -> str:
    return "none" if value is None else str(value)


def _grace(agent: Agent) -> float:
    return float(agent.get("stop_grace_seconds", drain.GRACE_SECONDS))


def _start(agent: Agent) -> float:
    free = float(agent.get("free_timeout_seconds", gpu_memory.FREE_SECONDS))
    asked = float(agent.get("canary_timeout_seconds", canary.TIMEOUT_SECONDS))
    return free + float(agent["start_timeout_seconds"]) + asked + _AROUND_SECONDS
