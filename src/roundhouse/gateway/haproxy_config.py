"""Fill the agents of the deployed plan into HAProxy's configuration.

The role writes haproxy.cfg.in from its settings. Ports, engines, sizes and the list of models come from the plan in
force. So the gateway follows a deployment and a rollback, neither of which runs the role.

In haproxy.cfg.in, `@@settings JSON` has the role's settings of which sizes depend, and `@@name@@` is a value. The
lines between `@@each WHAT` and `@@end` are repeated for each bind, metrics bind or agent.
"""

from __future__ import annotations

import ipaddress
import json
import os
import pwd
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import RoundhouseError, UsageError
from ..host import systemctl
from ..plan import accounts
from ..roster import ports
from ..state.note import Report
from ..util import files, process
from . import config, haproxy

if TYPE_CHECKING:  # absolute, so that Ansible does not ship them with modules
    from roundhouse.schema.plan import Agent, Plan

# A token of English is 4 bytes of JSON; of text outside ASCII, escaped as \uXXXX, up to 12 (two characters). More than
# that is not text of a model's vocabulary.
BYTES_PER_TOKEN = 16
LEAST_BODY_BYTES = 512 * 1024
_EACH = re.compile(r"^@@each (?P<what>\w+)\n(?P<lines>.*?)^@@end\n", re.MULTILINE | re.DOTALL)
_SETTINGS = re.compile(r"^@@settings (?P<json>.*)\n", re.MULTILINE)
# Of a file of earlier versions, which a deployment fills in before the role replaces it.
_EARLIER = config.Sizes(connections=4096, memory_mib=4096, header_bytes=32 * 1024)
_MIB = 1024 * 1024
_STATE = "STATE-OF-THE-AGENT"


def template_path() -> Path:
    """Return the file that the role writes."""
    return Path(config.FOLDER, "haproxy.cfg.in")


def path() -> Path:
    """Return HAProxy's configuration file."""
    return Path(config.FOLDER, "haproxy.cfg")


def deployed() -> str:
    """Return HAProxy's configuration. Raises UsageError without a gateway, and RoundhouseError."""
    try:
        return path().read_text()
    except FileNotFoundError:
        text, remedy = "{path} does not exist.", "Deploy a gateway first, with site.yml."
        raise UsageError("gateway_not_deployed", text, remedy, path=str(path())) from None
    except OSError as error:
        remedy = "Run this as root." if isinstance(error, PermissionError) else "Deploy again."
        text, reason = "{path} cannot be read ({reason}).", error.strerror or type(error).__name__
        raise RoundhouseError("gateway_config_unreadable", text, remedy, path=str(path()), reason=reason) from None


def needs_key() -> bool:
    """Return whether the API requires a key; without a gateway it requires none. Raises RoundhouseError."""
    return path().exists() and "/keys.map" in deployed()


def render(text: str, plan: Plan) -> str:
    """Return the role's text with the agents of a plan. Raises UsageError for a plan without a gateway."""
    if plan["gateway_port"] is None:
        raise UsageError("gateway_not_planned", "The plan has no gateway.", "Set gateway_enabled: true.")
    rows = {
        "bind": _binds(plan, lambda port: port),
        "metrics_bind": _binds(plan, ports.metrics_port),
        "agent": [_agent(agent, plan["runtime"]) for agent in plan["agents"]],
    }
    found = _SETTINGS.search(text)
    sizes = config.Sizes(**json.loads(found["json"])) if found else _EARLIER
    text = _SETTINGS.sub("", text)
    text = _EACH.sub(lambda found: "".join(_fill(found["lines"], row) for row in rows[found["what"]]), text)
    values = {
        **_sizes(plan, sizes),
        "models": _models(plan["agents"]),
        "names": ", ".join(agent["name"] for agent in plan["agents"]),
    }
    return _fill(text, values)


def _sizes(plan: Plan, sizes: config.Sizes) -> dict[str, str]:
    """Return the size of a buffer, and the number of connections whose buffers fit into the gateway's memory.

    Each connection may fill a buffer, also with headers that do not end, which HAProxy reads before any of its rules.
    A quarter of the memory is for all else. A quarter of the connections is for sources that sent a valid key.
    """
    body = max(LEAST_BODY_BYTES, BYTES_PER_TOKEN * max(agent["max_model_len"] for agent in plan["agents"]))
    # Twice the headers, because HAProxy keeps a part of a buffer free to write to (tune.maxrewrite, 1024).
    buffer = body + 2 * sizes.header_bytes
    connections = max(1, min(sizes.connections, sizes.memory_mib * _MIB * 3 // 4 // buffer))
    return {
        "body_bytes": str(body),
        "buffer_bytes": str(buffer),
        "connections": str(connections),
        "strangers": str(max(1, connections * 3 // 4)),
        "connections_of_known": str(max(1, connections // 4)),
    }


def write(plan: Plan) -> bool:
    """Write HAProxy's configuration for a plan, once HAProxy has checked it, and return whether it changed.

    Without the role's file there is no gateway, and nothing is written. Raises RoundhouseError, and OSError.
    """
    try:
        text = render(template_path().read_text(), plan)
    except FileNotFoundError:
        return False
    if path().exists() and path().read_text() == text:
        return False
    check(text)
    files.write(path(), text)
    return True


def check(text: str) -> None:
    """Raise RoundhouseError when HAProxy refuses a configuration."""
    aside = files.stage(path(), text, durable=False)
    try:
        done = process.run(["/usr/sbin/haproxy", "-c", "-f", str(aside)])
    finally:
        aside.unlink(missing_ok=True)
    if done.returncode != 0:
        problem = " ".join((done.stderr or done.stdout).replace(str(aside), str(path())).split())
        text, remedy = "HAProxy refuses its configuration: {problem}.", "Deploy again with site.yml."
        raise RoundhouseError("haproxy_config_invalid", text, remedy, problem=problem)


def follow(plan: Plan, report: Report) -> None:
    """Give a running gateway the agents of a plan. A failure is only reported: the agents run without a gateway too."""
    if plan.get("gateway_port") is None:
        return
    try:
        if write(plan) and systemctl.is_active(haproxy.UNIT):
            systemctl.call("reload", haproxy.UNIT)
    except (OSError, RoundhouseError) as error:
        report(f"the gateway still has the agents of the previous plan: {error}")


def _fill(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"@@{name}@@", value)
    return text


def _binds(plan: Plan, rule: Callable[[int], int]) -> list[dict[str, str]]:
    """Return the listening ports: one for all agents, and one for each agent."""
    shared = plan["gateway_port"]
    wanted = [(config.ANY, shared or 0), *((agent["name"], agent["port"]) for agent in plan["agents"])]
    return [{"name": name, "port": str(rule(port))} for name, port in wanted]


def _agent(agent: Agent, runtime: str) -> dict[str, str]:
    return {
        "name": agent["name"],
        "listener": _listener(agent, runtime),
        "engine": f"{agent['host']}:{agent['engine_port']}",
        "engine_port": str(agent["engine_port"]),
        "model": _log_format(_model(agent), agent),
        "list": _models([agent]),
    }


def _listener(agent: Agent, runtime: str) -> str:
    """Return who may listen on the engine's port, as roles/gateway/files/engine.lua reads it.

    Docker listens as root, and the account that runs this is root on a host.
    """
    number = int.from_bytes(ipaddress.IPv4Address(agent["host"]).packed, sys.byteorder)
    names = (accounts.account(agent["name"]), accounts.FORMER)
    allowed = sorted({os.getuid(), *(each.pw_uid for each in pwd.getpwall() if each.pw_name in names)})
    absent = "forwarded" if runtime == "compose" else "refused"
    return f"{number:08X}:{agent['engine_port']:04X} {','.join(map(str, allowed))} {absent}"


def _models(agents: list[Agent]) -> str:
    listed = ", ".join(_log_format(_model(agent), agent) for agent in agents)
    return f'{{"object": "list", "data": [{listed}]}}'


def _model(agent: Agent) -> dict[str, object]:
    return {
        "id": agent["name"],
        "object": "model",
        "created": 0,
        "owned_by": "roundhouse",
        "port": agent["port"],
        "max_model_len": agent["max_model_len"],
        "root": agent["model"],
        "state": _STATE,
    }


def _log_format(content: Mapping[str, object], agent: Agent) -> str:
    """Return JSON as one of HAProxy's log-format strings between single quotes; HAProxy fills in the agent's state."""
    text = json.dumps(content).replace("%", "%%").replace("'", "'\\''")
    return text.replace(_STATE, f"%[lua.state({agent['name']})]")
