"""The plan: what the roster becomes on one host. Built on the controller, deployed as plan.json.

After the deployment everything on the host reads only that file: it says what is deployed, not
what is wanted. An unknown fact is None.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from . import flags
from .errors import UsageError
from .roster import conflicts, gpus, require_valid

SCHEMA = 1
PATH = Path("/etc/roundhouse/plan.json")
CONFIG_FOLDER = "/etc/roundhouse/agents"
# Loopback until a gateway with a key stands in front (vLLM's own key leaves paths open, vllm#58144).
LISTEN_HOST = "127.0.0.1"
# systemd waits this much longer than the engine's own drain before it kills.
STOP_MARGIN_SECONDS = 30

# What the command reads of each agent.
_READ_LATER = ("name", "unit", "host", "port", "model", "model_path", "conflicts", "config_path", "environment")

Plan = dict[str, Any]
Agent = dict[str, Any]


def build(
    agents: Any,
    *,
    accelerator: str,
    engine_path: str,
    models_store: str,
    start_timeout_seconds: int,
) -> Plan:
    """Return the plan of one host for a roster (a list of dicts, see roster.py).

    `accelerator` is "cuda" or "cpu"; `engine_path` the engine's environment, `models_store` the
    folder under which pulled models lie. Raises UsageError with a sentence for each problem.
    """
    roster = require_valid(agents)
    if accelerator not in ("cuda", "cpu"):
        raise UsageError("plan", f"engine_accelerator is {accelerator!r}: write cuda or cpu.")
    return {
        "schema": SCHEMA,
        "runtime": "native",
        "accelerator": accelerator,
        "engine_path": engine_path,
        "models_store": models_store,
        "agents": [_agent(agent, roster, accelerator, models_store, start_timeout_seconds) for agent in roster],
    }


def _agent(agent: Agent, roster: list[Agent], accelerator: str, store: str, start_timeout_seconds: int) -> Agent:
    name, choice = agent["name"], agent["models"][0]
    model_path = path_of(choice, store)
    before = [other["name"] for other in roster[: roster.index(agent)]]
    rivals = conflicts(agent, roster)
    return {
        "name": name,
        "description": agent.get("description"),
        "unit": unit_name(name),
        "host": LISTEN_HOST,
        "port": agent["port"],
        "model": choice["model"],
        "revision": choice.get("revision"),
        "quantization": choice.get("quantization"),
        "model_path": model_path,
        # Whether the model fits the card is not computed yet: unknown, so None and not True.
        "fits": None,
        "not_taken": [entry["model"] for entry in agent["models"][1:]],
        "max_model_len": agent["max_model_len"],
        "gpu_memory_utilization": agent["gpu_memory_utilization"],
        "temperature": agent["temperature"],
        "top_p": agent["top_p"],
        "gpus": gpus(agent),
        "conflicts": rivals,
        # systemd stops the one before it starts the other only if the two are ordered, either way round.
        "after": [rival for rival in rivals if rival in before],
        "config_path": f"{CONFIG_FOLDER}/{name}.yaml",
        "config": flags.config(
            agent,
            model_path=model_path,
            quantization=choice.get("quantization"),
            host=LISTEN_HOST,
            gpus=gpus(agent),
        ),
        "environment": flags.environment(accelerator, gpus(agent)),
        "start_timeout_seconds": start_timeout_seconds,
        "stop_timeout_seconds": flags.SHUTDOWN_TIMEOUT_SECONDS + STOP_MARGIN_SECONDS,
    }


def path_of(choice: dict[str, Any], store: str) -> str:
    """Return the folder of a model: the roster's own path, or its place in the store."""
    model = choice["model"]
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
        agents = [{key: agent[key] for key in _READ_LATER} for agent in plan["agents"]]
    except (KeyError, TypeError) as error:
        raise UsageError("plan", f"{path} lacks {error} of an agent: deploy again.") from None
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


def summary(agent: Agent) -> str:
    """Return one line about a planned agent, with what is not known of it."""
    line = f"{agent['name']}: {agent['model']} on port {agent['port']}, {agent['max_model_len']} tokens"
    if agent["not_taken"]:
        line += f"; the first of {1 + len(agent['not_taken'])} models, whether it fits the card is not computed yet"
    return line
