"""What the gateway's HAProxy is told: computed here, printed by roles/gateway's templates.

Every request is taken in whole before it is handed on: a slow upload must not reach an engine that drains by then, and
the field `model` may stand behind the prompt. So a buffer has to hold a request, and its size follows from the longest
context of the plan.
"""

from __future__ import annotations

import ipaddress
import json
from typing import Any, NamedTuple

from ..errors import UsageError
from ..plan.deployed import Agent, Plan
from ..roster import ports
from ..state import switch_metrics
from . import haproxy
from . import on_demand as gateway_on_demand
from .scheduler import Settings as Demand

FOLDER = "/etc/roundhouse/gateway"
ANY = "ANY"  # the bind of all agents; no agent has such a name, they are lower-case

# A token of English is 4 bytes of JSON; of text outside ASCII, escaped as \uXXXX, up to 12 (two characters). More than
# that is no text of a model's own vocabulary.
BYTES_PER_TOKEN = 16
LEAST_BODY_BYTES = 512 * 1024
# Above the body: the headers, with what HAProxy keeps free in a buffer to write to (tune.maxrewrite, 1024).
HEADER_BYTES = 32 * 1024

READS = ("/v1/models",)
# OpenAI's API and vLLM's tokenizer, as far as an engine of a chat model has them. Nothing else is reachable.
WRITES = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/tokenize", "/detokenize")


# What HAProxy answers by itself, in OpenAI's form too: status, type, message.
OWN_ERRORS = (
    (400, "invalid_request_error", "This is no valid HTTP request."),
    (408, "invalid_request_error", "The request did not come in time."),
    (500, "server_error", "The gateway failed."),
    (502, "server_error", "The engine answered no valid HTTP, or ended."),
    (503, "server_error", "The engine takes no connection."),
    (504, "server_error", "The engine did not answer in time."),
)
# Why a request for an agent that does not serve is not kept.
REFUSALS = {
    "off": "%[var(txn.known)] is not loaded, and no switch brings it: roundhouse %[var(txn.known)] does.",
    "late": "%[var(txn.known)] did not come within the time that a request may wait (gateway_wait_seconds).",
    "moved": "The gateway was reloaded: ask again.",
    "full": "As many requests wait for %[var(txn.known)] as may (gateway_waiting).",
}


class Settings(NamedTuple):
    """The role's variables, without their prefix; None is "as it follows from `listen`"."""

    listen: str
    key_required: bool | None
    tls: bool | None
    certificate: str
    connections: int
    requests_per_minute: int
    requests_at_once: int
    waiting: int
    wait_seconds: int
    on_demand: bool
    min_active_seconds: int
    max_wait_seconds: int
    idle_seconds: int
    default_agents: list[str]
    pinned: list[str]


def build(plan: Plan, settings: Settings) -> dict[str, Any]:
    """Return what the templates print. Raises UsageError for settings that cannot be meant."""
    beyond = not _address(settings.listen).is_loopback
    keys = beyond if settings.key_required is None else settings.key_required
    if beyond and not keys:
        raise UsageError(
            "gateway",
            f"gateway_key_required is false and gateway_listen is {settings.listen}, which others reach: leave it out, "
            "or listen on 127.0.0.1.",
        )
    tls = beyond if settings.tls is None else settings.tls
    # A copy, which HAProxy's user may read whoever owns the user's file, and which is reloaded when that is renewed.
    certificate = f"{FOLDER}/{'own' if settings.certificate else 'tls'}.pem"
    body = max(LEAST_BODY_BYTES, BYTES_PER_TOKEN * max(int(agent["max_model_len"]) for agent in plan["agents"]))
    return {
        "folder": FOLDER,
        "runtime": haproxy.RUNTIME,
        "track": str(haproxy.track_path()),
        "own_errors": OWN_ERRORS,
        "refusals": REFUSALS,
        "any": ANY,
        "agents": [_agent(agent) for agent in plan["agents"]],
        "binds": [_bind(settings, ANY, plan["gateway_port"]), *_binds(plan, settings, lambda port: port)],
        "metrics_binds": [
            _bind(settings, ANY, ports.metrics_port(plan["gateway_port"])),
            *_binds(plan, settings, ports.metrics_port),
        ],
        "needs_key": keys,
        "certificate": certificate if tls else None,
        "makes_certificate": tls and not settings.certificate,
        "own_certificate": settings.certificate if tls else "",
        "body_bytes": body,
        "header_bytes": HEADER_BYTES,
        "buffer_bytes": body + 2 * HEADER_BYTES,
        "connections": settings.connections,
        # One address alone may not take all of them; those of this host share one.
        "connections_of_one": None if not beyond else max(1, settings.connections // 4),
        "requests_per_minute": settings.requests_per_minute,
        "requests_at_once": settings.requests_at_once,
        "waiting": settings.waiting,
        "wait_seconds": settings.wait_seconds,
        "reads": READS,
        "writes": WRITES,
        "models": _models(plan),
        "switches": str(switch_metrics.path()),
        "demand": _demand(plan, settings),
    }


def _demand(plan: Plan, settings: Settings) -> str | None:
    """Return what the control service reads, None where agents are not brought on demand. Raises UsageError."""
    if not settings.on_demand:
        return None
    told = Demand(*(getattr(settings, name) for name in Demand._fields))
    problem = gateway_on_demand.problem(plan, told, settings.wait_seconds)
    if problem:
        raise UsageError("gateway", problem)
    return json.dumps(told._asdict(), indent=1)


def _address(listen: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(listen)
    except ValueError:
        raise UsageError(
            "gateway", f"gateway_listen is {listen!r}: write an address of this host, such as 127.0.0.1 or 0.0.0.0."
        ) from None


def _agent(agent: Agent) -> dict[str, Any]:
    return {"name": agent["name"], "engine": f"{agent['host']}:{agent['engine_port']}"}


def _bind(settings: Settings, name: str, port: int) -> dict[str, str]:
    host = f"[{settings.listen}]" if ":" in settings.listen else settings.listen
    return {"name": name, "address": f"{host}:{port}"}


def _binds(plan: Plan, settings: Settings, rule: Any) -> list[dict[str, str]]:
    return [_bind(settings, agent["name"], rule(agent["port"])) for agent in plan["agents"]]


def _models(plan: Plan) -> str:
    """Return /v1/models of all agents, a log-format string: HAProxy fills in what changes."""
    listed = [
        {
            **{"id": agent["name"], "object": "model", "created": 0, "owned_by": "roundhouse"},
            **{"port": agent["port"], "max_model_len": agent["max_model_len"], "root": agent["model"]},
            "state": f"%[lua.state({agent['name']})]",
        }
        for agent in plan["agents"]
    ]
    return json.dumps({"object": "list", "data": listed})
