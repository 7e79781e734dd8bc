"""Read the deployed plan, plan.json, which build.py computes from the roster for one host.

After a deployment all programs on the host read only this file. It describes the deployed state, not the roster. An
unknown fact is None.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..errors import UsageError
from ..util.suggest import did_you_mean

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.plan import Agent, Plan

SCHEMA = 1
PATH = Path("/etc/roundhouse/plan.json")

# The keys that the command needs of each agent.
_READ_LATER = (
    "name",
    "unit",
    "host",
    "port",
    "engine_port",
    "model",
    "model_path",
    "conflicts",
    "config_path",
    "environment",
)


def unit_name(name: str) -> str:
    """Return the systemd unit of an agent."""
    return f"roundhouse-{name}.service"


def load(path: Path = PATH) -> Plan:
    """Return the deployed plan. Raises UsageError if it is missing or invalid."""
    plan = _read(path)
    try:
        plan.setdefault("cards", [])
        for agent in plan["agents"]:  # keys that earlier versions did not write
            agent.setdefault("gpu_uuids", [])
            agent.setdefault("engine_port", agent["port"])
            agent.setdefault("enforce_eager", "enforce-eager" in agent.get("config", {}))
        agents = [{key: agent[key] for key in _READ_LATER} for agent in plan["agents"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise _invalid(path, "plan_incomplete", "an agent lacks the key {reason}", reason=str(error)) from None
    if plan.get("problems"):
        text = "{path} has an agent that does not fit: {problem}"
        remedy = "Change the roster, and deploy again with ansible-playbook site.yml."
        raise UsageError("plan_does_not_fit", text, remedy, path=str(path), problem=plan["problems"][0])
    if not agents:
        raise _invalid(path, "plan_empty", "it has no agents")
    for field in ("name", "port"):
        values = [agent[field] for agent in agents]
        if twice := [value for value in values if values.count(value) > 1]:
            raise _invalid(path, "plan_ambiguous", "two agents have the {field} {value}", field=field, value=twice[0])
    return cast("Plan", plan)


def _read(path: Path) -> dict[str, Any]:
    try:
        plan = json.loads(path.read_text())
    except FileNotFoundError:
        remedy = "Deploy first, with ansible-playbook site.yml (the lab: make demo)."
        raise UsageError("plan_missing", "{path} does not exist.", remedy, path=str(path)) from None
    except (OSError, ValueError) as error:
        raise _invalid(path, "plan_unreadable", "it cannot be read ({reason})", reason=str(error)) from None
    if not isinstance(plan, dict) or plan.get("schema") != SCHEMA:
        raise _invalid(path, "plan_schema_unknown", "its schema is not {schema}", schema=SCHEMA)
    return plan


def _invalid(path: Path, code: str, what: str, **fields: object) -> UsageError:
    remedy = "Deploy again with ansible-playbook site.yml."
    return UsageError(code, f"The plan {{path}} is invalid: {what}.", remedy, path=str(path), **fields)


def find(plan: Plan, name: str) -> Agent:
    """Return the agent of that name. Raises UsageError with the known names."""
    names = [agent["name"] for agent in plan["agents"]]
    if name not in names:
        text, remedy = "{agent!r} is not an agent of this host.", did_you_mean(name, names, "Write one of {names}.")
        raise UsageError("unknown_agent", text, remedy, agent=name, names=", ".join(names))
    return plan["agents"][names.index(name)].copy()
