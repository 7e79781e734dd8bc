"""Compute the ports of an agent, and find two that are the same.

Clients know an agent's `port`, which does not change. With the gateway before it, its engine listens on another one of
the loopback and its metrics answer on a third; without, the engine itself listens on `port`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.roster import Addressed


# Far enough for no roster's own ports, and for the usual ones below those that Linux gives to outgoing connections
# (net.ipv4.ip_local_port_range, from 32768): such a connection would keep an engine from its port.
ENGINE_ABOVE = 20000
# 8100 for 8000: where the users' monitoring looks.
METRICS_ABOVE = 100
LOWEST, HIGHEST = 1024, 65535


def engine_port(port: int, gateway_port: int | None) -> int:
    """Return where an agent's engine listens; `gateway_port` is None without a gateway."""
    return port if gateway_port is None else port + ENGINE_ABOVE


def metrics_port(port: int) -> int:
    """Return where the gateway answers with an agent's metrics, and with nothing else."""
    return port + METRICS_ABOVE


def claims(agents: Sequence[Addressed], gateway_port: int) -> Iterator[tuple[Addressed, int, str]]:
    """Yield each port that is bound for an agent of a roster (agent, port, whose it is), its own first."""
    kinds = (
        ("port", lambda port: port),
        ("metrics", metrics_port),
        ("engine", lambda port: engine_port(port, gateway_port)),
    )
    for what, rule in kinds:
        for agent in agents:
            yield agent, rule(agent["port"]), f"{agent['name']}'s {what}"


def problems(agents: Sequence[Addressed], gateway_port: int | None) -> Iterator[str]:
    """Yield a sentence for each port of a roster that the gateway or another agent's engine or metrics has.

    Two agents with the same `port` are found by validate.py.
    """
    if gateway_port is None:
        return
    # Ansible hands in a subclass of int.
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
    holders = {gateway_port: "the gateway's (gateway_port)"}
    for agent, port, whose in claims(list(near.values()), gateway_port):
        holder = holders.setdefault(port, whose)
        if holder != whose:
            own = "" if port == agent["port"] else f", which makes {port} {whose}"
            yield f"agents[{agent['name']}].port is {agent['port']}{own}, and {port} is {holder}: write another port."
