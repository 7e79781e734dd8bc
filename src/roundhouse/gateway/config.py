"""HAProxy's configuration of the gateway: computed here, printed by roles/gateway's templates.

Every request is buffered whole before it is forwarded: a slow upload must not reach an engine that drains by then, and
the field `model` may stand behind the prompt. So a buffer holds a request, and its size follows from the longest
context of the plan.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable
from typing import NamedTuple

from ..errors import UsageError
from ..roster import ports
from ..schema.plan import Agent, Plan
from ..state import switch_metrics
from . import haproxy, scheduler
from . import on_demand as gateway_on_demand

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


def build(plan: Plan, settings: Settings) -> dict[str, object]:
    """Return what the templates print. Raises UsageError for settings that are not valid."""
    public = not _address(settings.listen).is_loopback
    return {
        "folder": FOLDER,
        "runtime": haproxy.RUNTIME,
        "routes": str(haproxy.routes_path()),
        "own_errors": OWN_ERRORS,
        "refusals": REFUSALS,
        "any": ANY,
        "agents": [_agent(agent) for agent in plan["agents"]],
        "binds": _binds(plan, settings, lambda port: port),
        "metrics_binds": _binds(plan, settings, ports.metrics_port),
        "needs_key": _needs_key(settings, public),
        **_certificate(settings, public),
        **_sizes(plan),
        "connections": settings.connections,
        # One address may not take all of them; the clients of this host share one.
        "connections_of_one": max(1, settings.connections // 4) if public else None,
        "requests_per_minute": settings.requests_per_minute,
        "requests_at_once": settings.requests_at_once,
        "waiting": settings.waiting,
        "wait_seconds": settings.wait_seconds,
        "reads": READS,
        "writes": WRITES,
        "models": _models(plan),
        "switches": str(switch_metrics.path()),
        "demand": _on_demand(plan, settings),
    }


def _needs_key(settings: Settings, public: bool) -> bool:
    needed = public if settings.key_required is None else settings.key_required
    if public and not needed:
        raise UsageError(
            "gateway_without_keys",
            "gateway_key_required is false and gateway_listen is {listen}, which other hosts reach.",
            "Leave gateway_key_required out, or listen on 127.0.0.1.",
            listen=settings.listen,
        )
    return needed


def _certificate(settings: Settings, public: bool) -> dict[str, str | bool | None]:
    tls = public if settings.tls is None else settings.tls
    # A copy, which HAProxy's user may read whatever the owner of the user's file, and reloaded when that is renewed.
    path = f"{FOLDER}/{'own' if settings.certificate else 'tls'}.pem"
    return {
        "certificate": path if tls else None,
        "makes_certificate": tls and not settings.certificate,
        "own_certificate": settings.certificate if tls else "",
    }


def _sizes(plan: Plan) -> dict[str, int]:
    body = max(LEAST_BODY_BYTES, BYTES_PER_TOKEN * max(agent["max_model_len"] for agent in plan["agents"]))
    return {"body_bytes": body, "header_bytes": HEADER_BYTES, "buffer_bytes": body + 2 * HEADER_BYTES}


def _on_demand(plan: Plan, settings: Settings) -> str | None:
    """Return what the control service reads, None where agents are not started on demand. Raises UsageError."""
    if not settings.on_demand:
        return None
    chosen = scheduler.Settings(
        min_active_seconds=settings.min_active_seconds,
        max_wait_seconds=settings.max_wait_seconds,
        idle_seconds=settings.idle_seconds,
        default_agents=tuple(settings.default_agents),
        pinned=tuple(settings.pinned),
    )
    problem = gateway_on_demand.problem(plan, chosen, settings.wait_seconds)
    if problem:
        raise UsageError("on_demand_setting_invalid", problem)
    return json.dumps(chosen._asdict(), indent=1)


def _address(listen: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(listen)
    except ValueError:
        raise UsageError(
            "gateway_listen_invalid",
            "gateway_listen is {listen!r}, which is not an address.",
            "Use an address of this host, such as 127.0.0.1 or 0.0.0.0.",
            listen=listen,
        ) from None


def _agent(agent: Agent) -> dict[str, str]:
    return {"name": agent["name"], "engine": f"{agent['host']}:{agent['engine_port']}"}


def _bind(settings: Settings, name: str, port: int) -> dict[str, str]:
    host = f"[{settings.listen}]" if ":" in settings.listen else settings.listen
    return {"name": name, "address": f"{host}:{port}"}


def _binds(plan: Plan, settings: Settings, rule: Callable[[int], int]) -> list[dict[str, str]]:
    """Return the addresses that are listened on: one for all agents, and each agent's own."""
    shared = plan["gateway_port"]
    if shared is None:
        raise UsageError("gateway_not_planned", "The plan has no gateway.", "Set gateway_enabled: true.")
    wanted = [(ANY, shared), *((agent["name"], agent["port"]) for agent in plan["agents"])]
    return [_bind(settings, name, rule(port)) for name, port in wanted]


def _models(plan: Plan) -> str:
    """Return /v1/models of all agents, a log-format string: HAProxy fills in what changes."""
    listed = [
        {
            "id": agent["name"],
            "object": "model",
            "created": 0,
            "owned_by": "roundhouse",
            "port": agent["port"],
            "max_model_len": agent["max_model_len"],
            "root": agent["model"],
            "state": f"%[lua.state({agent['name']})]",
        }
        for agent in plan["agents"]
    ]
    return json.dumps({"object": "list", "data": listed})
