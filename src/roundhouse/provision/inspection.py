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
from ..models import known, lock, quantized
from ..plan import build, decide, report
from ..schema.facts import PlanFacts
from ..schema.plan import Plan

# Settings of an inventory by their names in earlier versions -> their current names.
RENAMED_SETTINGS = {"quantise_path": "quantize_path"}


# The first Python that can read the package. preflight.py reports its own minimum together with all other findings.
READABLE_PYTHON = (3, 9)


class ImpossiblePlan(RoundhouseError):
    """Report that an agent fits no card. The host is checked nevertheless, so that all findings come at once."""

    def with_findings(self, findings: list[str]) -> ImpossiblePlan:
        """Return the error with the findings of the host after its own problems."""
        problems = "\n".join([str(self.fields["problems"]), *findings])
        return ImpossiblePlan(self.code, "{problems}\n\n{plan}", problems=problems, plan=self.fields["plan"])


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
    components: dict[str, object]  # the settings of the roles by component, as component_options.OPTIONS accepts them
    apt_sources: dict[str, object]  # the apt repositories that these roles add, by component and source


def require_current_settings(variables: Container[str]) -> None:
    """Raise UsageError for the first renamed setting of an inventory, because it would have no effect."""
    for old, new in RENAMED_SETTINGS.items():
        if old in variables:
            text, remedy = "{old} was renamed to {new}.", "Rename it in the inventory."
            raise UsageError("setting_renamed", text, remedy, old=old, new=new)


def require_valid_settings(problems: list[str]) -> None:
    """Raise UsageError if the argument specification of a role refuses settings; `problems` has a sentence for each."""
    if problems:
        remedy = "Correct the inventory; docs/reference/settings.md lists the values."
        raise UsageError(
            "setting_invalid",
            "The roles do not accept these settings: {problems}.",
            remedy,
            problems=". ".join(problems),
        )


def require_python(version: str | None) -> None:
    """Raise UsageError if the host's modules cannot run on this Python; None if the version was not gathered."""
    if version and tuple(map(int, version.split(".")[:2])) < READABLE_PYTHON:
        raise UsageError(
            "python_too_old",
            "Ansible uses Python {version} on this host, but Roundhouse needs {minimum} or later.",
            "Set ansible_python_interpreter in the inventory to the path of a later one.",
            version=version,
            minimum=".".join(map(str, READABLE_PYTHON)),
        )


def compute_plan(asked: Asked, facts: PlanFacts) -> tuple[Plan, list[str]]:
    """Return the plan and its text as lines. Raises ImpossiblePlan if an agent fits no card."""
    agents = lock.apply(asked.agents, Path(asked.models_lock))
    stated = known.configs(Path(asked.models_lock).with_name(known.NAME))
    facts = {**facts, "configs": {**stated, **facts.get("configs", {})}}
    host = decide.host_of(facts, asked.gpu_memory_gb, asked.again)
    plan = build.build(agents, asked.settings, host)
    text = report.text(plan, facts["measured"])
    if plan["problems"]:
        raise ImpossiblePlan("plan_impossible", "{problems}\n\n{plan}", problems="\n".join(plan["problems"]), plan=text)
    return plan, text.splitlines()


def preflight_options(asked: Asked, plan: Plan | None, facts: PlanFacts) -> dict[str, object]:
    """Return the options of the second module, roundhouse_preflight; without a plan only the host is checked."""
    agents, settings = plan["agents"] if plan else [], asked.settings
    image = settings.image if settings.contained else None
    named = [agent["model"] for agent in agents] + [agent["draft_model"] or "" for agent in agents]
    return {
        "agents": agents,
        "required_models": lock.required_models(agents, Path(asked.models_lock)),
        "folders": list(dict.fromkeys(name for name in named if name.startswith("/"))),
        "quantizations": quantized.required_results(agents),
        "accelerator": settings.accelerator,
        "engine_path": settings.engine_path,
        "engine_python": asked.engine_python,
        "quantize_path": asked.quantize_path,
        "hub_path": asked.hub_path,
        "nvml": facts["answer"],
        "models_store": settings.models_store,
        "gateway_port": settings.gateway_port,
        # None if the engine is an environment on the host, which the containers mount.
        "image": image if settings.image_has_engine else None,
        "runtime_image": image,
        "runtime": settings.runtime,
        "components": asked.components,
        "apt_sources": asked.apt_sources,
    }


def is_deployed(plan: Plan, facts: PlanFacts) -> bool:
    """Return true if the plan equals the deployed one, compared as JSON."""
    return bool(json.loads(json.dumps(plan)) == facts["deployed"])
