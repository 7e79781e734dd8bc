"""What a play asks of a host before it decides anything: on the controller, between the two looks at the host.

The first look (plan_facts.py) gathers what the plan follows from, the second (preflight.py, host_seen.py) looks at what
the plan names. Both are one task of a play.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import RoundhouseError
from ..models import lock, quantized
from ..plan import build, decide, report
from ..plan.deployed import Plan
from ..roster import validate


class Asked(NamedTuple):
    """The roster as it was written, its lock file, the settings of the plan, and where the environments are."""

    agents: Any
    models_lock: str
    settings: dict[str, Any]  # of planner.Settings
    gpu_memory_gb: float | None
    again: bool
    engine_python: str
    quantize_path: str
    hub_path: str


def refuse(asked: Asked) -> None:
    """Raise RoundhouseError with a sentence for each thing in the roster that cannot be meant."""
    found = list(validate.problems(asked.agents, gateway_port=asked.settings["gateway_port"]))
    if found:
        raise RoundhouseError("roster", "\n".join(found))


def plan_of(asked: Asked, facts: dict[str, Any]) -> tuple[Plan, list[str]]:
    """Return the plan and its text. Raises RoundhouseError when an agent fits no card."""
    agents = lock.apply(asked.agents, Path(asked.models_lock))
    host = decide.host_of(facts, asked.gpu_memory_gb, asked.again)
    plan = build.build(agents, build.Settings(**asked.settings), host)
    text = report.text(plan, facts["measured"])
    if plan["problems"]:
        raise RoundhouseError("plan", "\n".join(plan["problems"]) + f"\n\n{text}")
    return plan, text.splitlines()


def look_of(asked: Asked, plan: Plan, facts: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of the second look, the module roundhouse_preflight."""
    agents = plan["agents"]
    named = [agent["model"] for agent in agents] + [agent["draft_model"] or "" for agent in agents]
    return {
        "agents": agents,
        "wishes": lock.wishes(agents, Path(asked.models_lock)),
        "folders": list(dict.fromkeys(name for name in named if name.startswith("/"))),
        "quantizations": list(quantized.wishes(agents)),
        "accelerator": plan["accelerator"],
        "engine_path": plan["engine_path"],
        "engine_python": asked.engine_python,
        "quantize_path": asked.quantize_path,
        "hub_path": asked.hub_path,
        "nvml": facts["answer"],
        "models_store": plan["models_store"],
        "gateway_port": plan["gateway_port"],
        # None for an engine in an environment of the host's, which an image then shows.
        "image": plan["image"] if asked.settings["image_has_engine"] and plan["image"] else None,
        "runtime_image": plan["image"],
    }


def is_in_place(plan: Plan, facts: dict[str, Any]) -> bool:
    """Return whether the plan is the one that is deployed, by what both say as JSON."""
    return bool(json.loads(json.dumps(plan)) == facts["deployed"])
