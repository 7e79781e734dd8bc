"""Compute the ports of an agent, and find ports that are used twice.

Clients use an agent's `port`, which does not change. With a gateway, the gateway listens on `port`, the engine on a
second port of the loopback, and the metrics on a third. Without a gateway, the engine listens on `port`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.roster import Addressed


# High enough to avoid the ports of rosters. For the usual ports the sum is below the range for outgoing connections
# (net.ipv4.ip_local_port_range, from 32768), because such a connection could occupy an engine's port.
ENGINE_ABOVE = 20000
# 8100 for 8000: the port for the users' monitoring.
METRICS_ABOVE = 100
LOWEST, HIGHEST = 1024, 65535


def engine_port(port: int, gateway_port: int | None) -> int:
    """Return the port of an agent's engine; `gateway_port` is None without a gateway."""
    return port if gateway_port is None else port + ENGINE_ABOVE


def metrics_port(port: int) -> int:
    """Return the port on which the gateway serves only the agent's metrics."""
    return port + METRICS_ABOVE


def claims(agents: Sequence[Addressed], gateway_port: int) -> Iterator[tuple[Addressed, int, str]]:
    """Yield each port of the agents as (agent, port, description): first all `port`, then metrics, then engines."""
    kinds = (
        ("port", lambda port: port),
        ("metrics port", metrics_port),
        ("engine port", lambda port: engine_port(port, gateway_port)),
    )
    for what, rule in kinds:
        for agent in agents:
            yield agent, rule(agent["port"]), f"{agent['name']}'s {what}"


def problems(agents: Sequence[Addressed], gateway_port: int | None) -> Iterator[str]:
    """Yield a sentence for each port of a roster that the gateway or another agent's engine or metrics uses.

    validate.py finds two agents with the same `port`.
    """
    if gateway_port is None:
        return
    # Ansible passes a subclass of int.
    whole = isinstance(gateway_port, int) and not isinstance(gateway_port, bool)
    if not whole or not LOWEST <= gateway_port <= HIGHEST:
        yield f"gateway_port is {gateway_port!r}: write a whole number from {LOWEST} to {HIGHEST}."
        return
    near: dict[int, Addressed] = {}
    for agent in agents:
        if agent["port"] + ENGINE_ABOVE > HIGHEST:
            at = f"agents[{agent['name']}].port is {agent['port']}"
            yield f"{at}, and its engine listens {ENGINE_ABOVE} above it: write at most {HIGHEST - ENGINE_ABOVE}."
        else:
            near.setdefault(agent["port"], agent)
    holders = {gateway_port: "gateway_port"}
    for agent, port, whose in claims(list(near.values()), gateway_port):
        holder = holders.setdefault(port, whose)
        if holder != whose:
            own = "" if port == agent["port"] else f", so {whose} is {port}"
            yield f"agents[{agent['name']}].port is {agent['port']}{own}, which is also {holder}: write another port."
