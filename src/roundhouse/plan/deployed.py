"""The plan as it is deployed, plan.json: what the roster became on one host. `planner.py` builds it.

After the deployment everything on the host reads only that file: it says what is deployed, not
what is wanted. An unknown fact is None.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..models import quantized

SCHEMA = 1
PATH = Path("/etc/roundhouse/plan.json")
# How long requests may take to end when their agent leaves, unless a switch says otherwise.
DRAIN_SECONDS = 30.0

# What the command reads of each agent.
_READ_LATER = (
    *("name", "unit", "host", "port", "engine_port", "model", "model_path"),
    *("conflicts", "config_path", "environment"),
)

# Until all modules take the shapes from schema/plan.py.
Plan = Any
Agent = Any


def path_of(choice: dict[str, Any], store: str) -> str:
    """Return the folder of a model: the roster's own path, or its place in the store; of a recipe's result, that."""
    model = choice["model"]
    if choice.get("quantize"):
        return f"{store}/{quantized.path(model, choice['revision'], choice['quantize'])}"
    return model if model.startswith("/") else f"{store}/{model}/{choice.get('revision') or 'main'}"


def unit_name(name: str) -> str:
    """Return the systemd unit of an agent."""
    return f"roundhouse-{name}.service"


def load(path: Path = PATH) -> Plan:
    """Return the deployed plan. Raises UsageError where there is none or it cannot be understood."""
    try:
        plan = json.loads(path.read_text())
    except FileNotFoundError:
        raise UsageError(
            "plan", f"{path} does not exist: deploy first, with ansible-playbook site.yml (the lab: make demo)."
        ) from None
    except (OSError, ValueError) as error:
        raise UsageError("plan", f"{path} cannot be read ({error}): deploy again.") from None
    if not isinstance(plan, dict) or plan.get("schema") != SCHEMA:
        raise UsageError("plan", f"{path} is not a plan of schema {SCHEMA}: deploy again with this version.")
    try:
        for agent in plan["agents"]:  # keys that earlier versions did not write
            agent.setdefault("engine_port", agent["port"])
            agent.setdefault("enforce_eager", "enforce-eager" in agent.get("config", {}))
        agents = [{key: agent[key] for key in _READ_LATER} for agent in plan["agents"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError("plan", f"{path} lacks {error} of an agent: deploy again.") from None
    if plan.get("problems"):
        raise UsageError("plan", f"{path} holds an agent that does not fit: {plan['problems'][0]}")
    for field in ("name", "port"):
        if not agents or len({agent[field] for agent in agents}) != len(agents):
            raise UsageError("plan", f"{path} names a {field} twice, or no agent at all: deploy again.")
    return plan


def find(plan: Plan, name: str) -> Agent:
    """Return the agent of that name. Raises UsageError that lists the names there are."""
    for agent in plan["agents"]:
        if agent["name"] == name:
            return dict(agent)
    names = ", ".join(agent["name"] for agent in plan["agents"])
    raise UsageError("agent", f"{name!r} is not an agent of this host: say one of {names}.")
