"""Compute the plan on the controller, for the action roundhouse_inspect.

The action runs two modules on the host. Before this one, plan_facts.py gathers the plan's inputs. After it,
preflight.py and host_state.py check the host for the plan.
"""

from __future__ import annotations

import json
from collections.abc import Container
from pathlib import Path
from typing import NamedTuple

from ..errors import RoundhouseError, UsageError
from ..models import lock, quantized
from ..plan import build, decide, report
from ..schema.facts import PlanFacts
from ..schema.plan import Plan

# Settings of an inventory by their names in earlier versions -> their current names.
RENAMED_SETTINGS = {"quantise_path": "quantize_path"}


class Asked(NamedTuple):
    """The action's options: the roster as written, its lock file, the plan's settings, and the environments' paths."""

    agents: object  # not validated yet
    models_lock: str
    settings: build.Settings
    gpu_memory_gb: float | None
    again: bool
    engine_python: str
    quantize_path: str
    hub_path: str


def require_current_settings(variables: Container[str]) -> None:
    """Raise UsageError for the first renamed setting of an inventory, because it would have no effect."""
    for old, new in RENAMED_SETTINGS.items():
        if old in variables:
            text, remedy = "{old} was renamed to {new}.", "Rename it in the inventory."
            raise UsageError("setting_renamed", text, remedy, old=old, new=new)


def compute_plan(asked: Asked, facts: PlanFacts) -> tuple[Plan, list[str]]:
    """Return the plan and its text as lines. Raises RoundhouseError if an agent fits no card."""
    agents = lock.apply(asked.agents, Path(asked.models_lock))
    host = decide.host_of(facts, asked.gpu_memory_gb, asked.again)
    plan = build.build(agents, asked.settings, host)
    text = report.text(plan, facts["measured"])
    if plan["problems"]:
        raise RoundhouseError(
            "plan_impossible", "{problems}\n\n{plan}", problems="\n".join(plan["problems"]), plan=text
        )
    return plan, text.splitlines()


def preflight_options(asked: Asked, plan: Plan, facts: PlanFacts) -> dict[str, object]:
    """Return the options of the second module, roundhouse_preflight."""
    agents = plan["agents"]
    named = [agent["model"] for agent in agents] + [agent["draft_model"] or "" for agent in agents]
    return {
        "agents": agents,
        "required_models": lock.required_models(agents, Path(asked.models_lock)),
        "folders": list(dict.fromkeys(name for name in named if name.startswith("/"))),
        "quantizations": quantized.required_results(agents),
        "accelerator": plan["accelerator"],
        "engine_path": plan["engine_path"],
        "engine_python": asked.engine_python,
        "quantize_path": asked.quantize_path,
        "hub_path": asked.hub_path,
        "nvml": facts["answer"],
        "models_store": plan["models_store"],
        "gateway_port": plan["gateway_port"],
        # None if the engine is an environment on the host, which the containers mount.
        "image": plan["image"] if asked.settings.image_has_engine and plan["image"] else None,
        "runtime_image": plan["image"],
    }


def is_deployed(plan: Plan, facts: PlanFacts) -> bool:
    """Return true if the plan equals the deployed one, compared as JSON."""
    return bool(json.loads(json.dumps(plan)) == facts["deployed"])
