"""List the files that the role agents stages: the plan, and each agent's files under their final paths."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ..host.systemd import FOLDER as UNITS
from ..plan import accounts, compose, roles
from ..plan.build import COMPOSE, CONFIG_FOLDER
from ..schema.plan import Agent, Plan

if TYPE_CHECKING:
    from .file_tree import Template


def build(plan: Plan, staged: str) -> dict[str, object]:
    """Return {"folders", "files"} for roundhouse_host_files. The plan is last, and the command validates it."""
    places = {agent["name"]: f"{staged}/agents/{agent['name']}" for agent in plan["agents"]}
    folders = [CONFIG_FOLDER, *(place + below for place in places.values() for below in (CONFIG_FOLDER, UNITS))]
    files: dict[str, Template | str] = {}
    for agent in plan["agents"]:
        place = places[agent["name"]]
        files[place + agent["config_path"]] = _template("vllm.yaml.j2", agent)
        for path, text in roles.files(agent).items():
            folders.append(place + roles.folder(agent["name"]))
            files[place + path] = text
        if plan["runtime"] == COMPOSE:
            check = "docker compose --file %s config --quiet"
            files[place + agent["compose_path"]] = _template("compose.yaml.j2", agent, check)
        unit = f"{place}{UNITS}/{agent['unit']}"
        files[unit] = _template("agent.service.j2", agent, "systemd-analyze verify --man=no %s")
    text = json.dumps(plan, indent=4, sort_keys=True) + "\n"
    files[f"{staged}/plan.json"] = {"content": text, "validate": ["/usr/local/bin/roundhouse --check %s"]}
    return {"folders": {folder: {} for folder in folders}, "files": files}


def variables(agent: Agent) -> dict[str, object]:
    """Return the variables that the templates of an agent print."""
    own = {"__agents_account": accounts.account(agent["name"]), "__agents_memory_percent": compose.MEMORY_PERCENT}
    return {"__agents_agent": agent, **own}


def _template(template: str, agent: Agent, *validate: str) -> Template:
    return {"template": template, "vars": variables(agent), "validate": list(validate)}
