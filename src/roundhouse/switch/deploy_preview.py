"""What a deployment is about to do: what changes, which agents stop for it, for how long at the most."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..agents import canary, drain, gpu_memory
from ..host import docker
from ..models import safetensors
from ..plan.plan_sets import PlanSet
from ..schema.plan import Agent
from ..state import start_phases
from . import next_run
from .deploy import Deployment

# A unit's stop, its start and systemd's reading of the units, beside the engine's own time.
_MARGIN_SECONDS = 5.0


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
        differences=next_run.differences(now.old.plan, now.new.plan),
        restarts=[agent["name"] for agent in now.starting],
        seconds=sum(learned) + _MARGIN_SECONDS if len(learned) == len(known) else None,
        at_most_seconds=most,
    )


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


def _start(agent: Agent) -> float:
    free = float(agent.get("free_timeout_seconds", gpu_memory.FREE_SECONDS))
    asked = float(agent.get("canary_timeout_seconds", canary.TIMEOUT_SECONDS))
    return free + float(agent["start_timeout_seconds"]) + asked + _MARGIN_SECONDS
