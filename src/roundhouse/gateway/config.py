"""Compute what roles/gateway's templates print; haproxy_config.py fills in the agents on the host.

HAProxy buffers each request whole before it forwards it. A slow upload must not reach an engine that drains by then,
and the field `model` may follow the prompt. So a buffer holds a request, and its size follows from the longest context
of the plan.
"""

from __future__ import annotations

import ipaddress
import json
import re
from typing import NamedTuple

from ..errors import UsageError
from ..schema.plan import Plan
from ..state import switch_metrics
from . import haproxy, scheduler
from . import on_demand as gateway_on_demand

FOLDER = "/etc/roundhouse/gateway"
ANY = "ANY"  # the bind of all agents; agents' names are lower-case

ANY_ORIGIN = "*"
_IPV6 = 6
READS = ("/v1/models",)
# The paths of OpenAI's API and of vLLM's tokenizer that a chat model's engine has. Nothing else is reachable.
WRITES = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/tokenize", "/detokenize")


# HAProxy's own errors, in OpenAI's form: status, type, message.
OWN_ERRORS = (
    (400, "invalid_request_error", "The HTTP request is not valid."),
    (408, "invalid_request_error", "The request did not arrive in time."),
    (500, "server_error", "The gateway failed."),
    (502, "server_error", "The engine stopped, or its HTTP response is not valid. Repeat the request."),
    (503, "server_error", "The engine accepts no connection."),
    (504, "server_error", "The engine did not answer in time."),
)
_AGENT = "%[var(txn.known)]"
_RUN = f"Run `roundhouse {_AGENT}` on the host."
# Why a request for an agent that is not ready is refused; the codes are those of roles/gateway/files/hold.lua.
REFUSALS = {
    "off": f"{_AGENT} is not loaded, and agents are not started on demand: {{off}}. {_RUN}",
    "pinned": f"{_AGENT} is not loaded, and a pinned agent (gateway_pinned) keeps its GPU. {_RUN}",
    "failed": f"{_AGENT} failed to start; see `roundhouse doctor`. The next try is in %[var(txn.seconds)] s.",
    "late": f"{_AGENT} did not become ready within {{wait_seconds}} s (gateway_wait_seconds).",
    "moved": "The gateway was reloaded. Repeat the request.",
    "full": f"The queue of {_AGENT} is full ({{waiting}} requests, gateway_waiting).",
    "memory": "The held requests fill {held_mib} MiB (gateway_held_mib). Repeat the request later.",
}
# A retry is of no use: these get no Retry-After, and `x-should-retry: false`, which OpenAI's clients obey.
FINAL_REFUSALS = ("off", "pinned")
# In the place of vLLM's answer, which names vLLM's own options.
NO_TOOLS = (
    f"{_AGENT} cannot choose tools itself, because tool_call_parser of agents[{_AGENT}] is not set. Set it in "
    "group_vars/all/agents.yml and deploy, or name the function in tool_choice."
)
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
# The fields of Settings that are limits.
LIMITS = (
    *("connections", "source_connections", "metrics_connections", "memory_mib", "held_mib"),
    *("header_kib", "header_seconds", "body_seconds"),
    *("requests_per_minute", "requests_at_once", "waiting", "wait_seconds"),
)


class Sizes(NamedTuple):
    """The settings from which haproxy_config.py computes numbers that depend on the plan too."""

    connections: int
    memory_mib: int
    header_bytes: int


class Settings(NamedTuple):
    """The role's variables, without their prefix; None: the default for the address in `listen`."""

    listen: str
    key_required: bool | None
    tls: bool | None
    certificate: str
    connections: int
    source_connections: int
    metrics_connections: int
    memory_mib: int
    held_mib: int
    header_kib: int
    header_seconds: int
    body_seconds: int
    requests_per_minute: int
    requests_at_once: int
    waiting: int
    wait_seconds: int
    cors_origins: list[str]
    hosts: list[str]
    on_demand: bool
    in_use_seconds: float
    min_active_seconds: float
    max_wait_seconds: float
    idle_seconds: float
    default_agents: list[str]
    pinned: list[str]


def build(plan: Plan, settings: Settings) -> dict[str, object]:
    """Return what the templates print. Raises UsageError for settings that are not valid."""
    address = _address(settings.listen)
    public = not address.is_loopback
    if plan["gateway_port"] is None:
        raise UsageError("gateway_not_planned", "The plan has no gateway.", "Set gateway_enabled: true.")
    needs_key = _needs_key(settings, public)
    return {
        "folder": FOLDER,
        "runtime": haproxy.RUNTIME,
        # The level is enough for the commands that the program sends. It changes no engine and reads no memory.
        "master": f"{haproxy.RUNTIME}/master.sock,level,operator,mode,600",
        "routes": str(haproxy.routes_path()),
        "own_errors": OWN_ERRORS,
        "refusals": _refusals(settings),
        "final_refusals": FINAL_REFUSALS,
        "no_tools": NO_TOOLS,
        "any": ANY,
        "address": f"[{settings.listen}]" if address.version == _IPV6 else settings.listen,
        "needs_key": needs_key,
        "origins": _origins(settings.cors_origins, needs_key),
        **_certificate(settings, public),
        "public": public,
        "key_map": f"{FOLDER}/keys.map",
        "hosts": _hosts(settings.hosts),
        **_limits(settings),
        "reads": READS,
        "writes": WRITES,
        "switches": str(switch_metrics.path()),
        "demand": _on_demand(plan, settings),
    }


def _refusals(settings: Settings) -> dict[str, str]:
    off = "the service roundhouse-control does not run" if settings.on_demand else "gateway_on_demand is false"
    fields = {"off": off, "wait_seconds": settings.wait_seconds, "waiting": settings.waiting}
    fields["held_mib"] = settings.held_mib
    return {why: text.format(**fields) for why, text in REFUSALS.items()}


def _limits(settings: Settings) -> dict[str, object]:
    """Return the limits. Raises UsageError for one that is not a positive number."""
    found = {name: getattr(settings, name) for name in LIMITS}
    for name, value in found.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            text = "gateway_{name} is {value!r}."
            raise UsageError("gateway_limit_invalid", text, "Use a whole number, at least 1.", name=name, value=value)
    sizes = Sizes(settings.connections, settings.memory_mib, settings.header_kib * 1024)
    return {
        "limits": found,
        "sizes": json.dumps(sizes._asdict()),
        "header_bytes": sizes.header_bytes,
        "all_connections": settings.connections + settings.metrics_connections,
        "metrics_of_source": max(1, settings.metrics_connections // 4),
    }


def _hosts(hosts: list[str]) -> list[str]:
    """Return the names of this host that a keyless request may ask for. Raises UsageError for one that is not valid."""
    for host in hosts:
        if not _HOST.fullmatch(host):
            text = "{host!r} in gateway_hosts is not a host name."
            raise UsageError("gateway_host_invalid", text, "Use a lower-case name without a port.", host=host)
    return hosts


def _origins(origins: list[str], needs_key: bool) -> list[str]:
    """Return the origins whose pages may use the API. Raises UsageError for one that is not valid."""
    for origin in origins:
        if origin == ANY_ORIGIN and not needs_key:
            text, remedy = "gateway_cors_origins contains *, and no key is required.", "Set gateway_key_required: true."
            raise UsageError("cors_any_without_keys", text, remedy)
        if origin != ANY_ORIGIN and not _ORIGIN.fullmatch(origin):
            text = "{origin!r} in gateway_cors_origins is not an origin."
            raise UsageError("cors_origin_invalid", text, "Use scheme://host or scheme://host:port.", origin=origin)
    return [ANY_ORIGIN] if ANY_ORIGIN in origins else origins


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
    # A copy that HAProxy may read. A change of the user's file reloads HAProxy.
    path = f"{FOLDER}/{'own' if settings.certificate else 'tls'}.pem"
    return {
        "certificate": path if tls else None,
        "makes_certificate": tls and not settings.certificate,
        "own_certificate": settings.certificate if tls else "",
    }


def _on_demand(plan: Plan, settings: Settings) -> str | None:
    """Return the control service's settings, None where agents are not started on demand. Raises UsageError."""
    if not settings.on_demand:
        return None
    chosen = scheduler.Settings(
        in_use_seconds=settings.in_use_seconds,
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
        address = ipaddress.ip_address(listen)
        # Python ignores a zone, the part after %, when it decides whether an address is loopback. HAProxy takes none.
        if "%" in listen:
            raise ValueError(listen)
        return address
    except ValueError:
        raise UsageError(
            "gateway_listen_invalid",
            "gateway_listen {listen!r} is not an address.",
            "Use an address of this host, such as 127.0.0.1 or 0.0.0.0.",
            listen=listen,
        ) from None
