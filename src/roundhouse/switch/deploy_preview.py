"""What a deployment is about to do: what changes, which agents stop for it, for how long at the most."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..agents import canary, drain, gpu_memory
from ..host import docker
from ..models import safetensors
from ..plan import plan_sets
from ..plan.plan_sets import PlanSet
from ..schema.plan import Agent, Plan
from ..state import start_phases
from .deploy import Deployment

# A unit's stop, its start and systemd's reading of the units, beside the engine's own time.
_MARGIN_SECONDS = 5.0
_OF_THE_PLAN = ("runtime", "accelerator")
_OF_AN_AGENT = ("model", "revision", "draft_model", "port")


class Preview(NamedTuple):
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


def preview(now: Deployment) -> Preview:
    """Return what the deployment is about to do."""
    known = [start_phases.known(agent) for agent in now.starting]
    learned = [each.seconds + _MARGIN_SECONDS for each in known if each]
    ending = [*now.stopping, *now.starting]
    most = now.drain_seconds + sum(float(agent.get("stop_grace_seconds", drain.GRACE_SECONDS)) for agent in ending)
    most += sum(_start(agent) for agent in [*now.starting, *now.previous])
    return Preview(
        differences=differences(now.old.plan, now.new.plan),
        restarts=[agent["name"] for agent in now.starting],
        seconds=sum(learned) + _MARGIN_SECONDS if len(learned) == len(known) else None,
        at_most_seconds=most,
    )


def differences(before: Plan, after: Plan) -> list[str]:
    """Return a sentence for each difference between two plans."""
    found = [_other(name, before.get(name), after.get(name)) for name in _OF_THE_PLAN]
    found.append(_other("engine", plan_sets.engine(before), plan_sets.engine(after)))
    old = {agent["name"]: agent for agent in before["agents"]}
    new = {agent["name"]: agent for agent in after["agents"]}
    found += [f"{name} is no longer in the roster" for name in old if name not in new]
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
                lost.append(f"{problem}: {safetensors.remedy(model, recipe)}")
    return lost


def _other(what: str, before: object, after: object) -> str | None:
    return None if before == after else f"{what}: {_word(before)} -> {_word(after)}"


def _word(value: object) -> str:
    return "none" if value is None else str(value)


def _start(agent: Agent) -> float:
    free = float(agent.get("free_timeout_seconds", gpu_memory.FREE_SECONDS))
    asked = float(agent.get("canary_timeout_seconds", canary.TIMEOUT_SECONDS))
    return free + float(agent["start_timeout_seconds"]) + asked + _MARGIN_SECONDS
