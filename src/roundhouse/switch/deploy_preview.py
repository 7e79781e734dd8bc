"""Preview a deployment: the changes, the agents that it restarts, and the longest interruption."""

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

# The time of a unit's stop, its start and a daemon-reload, in addition to the engine's own time.
_MARGIN_SECONDS = 5.0


class Preview(NamedTuple):
    """`differences` are sentences; `restarts` are the agents that are unavailable for about `seconds` (None: unknown).

    After `at_most_seconds` the port answers again in any case, also after a failure and a rollback.
    """

    differences: list[str]
    restarts: list[str]
    seconds: float | None
    at_most_seconds: float

    def text(self) -> list[str]:
        """Return the preview for a person."""
        if not self.restarts:
            return [*self.differences, "No active agent is restarted."]
        names = " and ".join(self.restarts)
        about = "for the time of its first start" if self.seconds is None else f"for about {self.seconds:.0f} s"
        most = f"at most {self.at_most_seconds:.0f} s, including a rollback"
        return [*self.differences, f"{names}: unavailable {about} ({most})."]


def preview(now: Deployment) -> Preview:
    """Return the preview of a deployment."""
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
    """Return a sentence for each missing part of a set: its engine or image, its models."""
    lost = []
    engine, image = Path(found.plan["engine_path"]), found.plan.get("image")
    if image and not docker.has_image(image):
        lost.append(f"its image {image} is missing: deploy the plan with its former versions (site.yml)")
    if found.names(str(engine)) and not engine.exists():
        lost.append(f"its engine {engine} is missing: deploy the plan with its former versions (site.yml)")
    for agent in found.plan["agents"]:
        for model, path, recipe in safetensors.of(agent):
            if problem := safetensors.problem(path):
                lost.append(f"{problem}: {safetensors.remedy(model, recipe)}")
    return lost


def _start(agent: Agent) -> float:
    free = float(agent.get("free_timeout_seconds", gpu_memory.FREE_SECONDS))
    asked = float(agent.get("canary_timeout_seconds", canary.TIMEOUT_SECONDS))
    return free + float(agent["start_timeout_seconds"]) + asked + _MARGIN_SECONDS
