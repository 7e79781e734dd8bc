"""The agents that leave: asked to stop, drained, and ended when they do not go.

An engine that is asked to stop takes no new work from that moment (vLLM answers it with 500) and lets what runs finish,
for as long as its own shutdown-timeout. A longer drain than that waits before it asks, while new work still comes in.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from . import units
from .engine import Engine
from .plan import Agent

POLL_SECONDS = 0.1
# An idle vLLM is gone 5 to 9 s after it was asked (vllm 0.32 on a busy CPU); after this, in peace, it hangs. The plan
# may say otherwise: stop_grace_seconds.
GRACE_SECONDS = 15.0
UP = ("ready", "starting", "draining")  # states in which an agent has, or is about to free, its card

Say = Callable[[str], None]


def leave(agents: list[Agent], drain_seconds: float, report: Say, note: Say) -> int:
    """Stop the agents, and return how many of their requests were cut. Each is gone when this returns."""
    begun = time.monotonic()
    running = {agent["name"]: _running(agent) for agent in agents}
    for agent in agents:
        count = running[agent["name"]]
        told = f"{count} running, which may end within {drain_seconds:g} s" if count else "nothing is running"
        report(f"stopping {agent['name']} ({told})")
    _wait_beforehand(agents, drain_seconds, note)
    for agent in agents:
        if units.state(agent["unit"]) in UP:
            units.stop(agent["unit"], wait=False)
    cut = 0
    killed = set[str]()
    while staying := [agent for agent in agents if units.state(agent["unit"]) in UP]:
        seconds = time.monotonic() - begun
        counts = {agent["name"]: _running(agent) for agent in staying}
        note(", ".join(f"{name}: {count or 0} running" for name, count in counts.items()))
        for agent in staying:
            count = counts[agent["name"]] or 0
            late = seconds >= drain_seconds and count > 0
            hangs = seconds >= drain_seconds + agent.get("stop_grace_seconds", GRACE_SECONDS)
            if agent["name"] not in killed and (late or hangs):
                report(f"{agent['name']} did not stop in {seconds:.0f} s: ending it, {count} requests are cut")
                killed.add(agent["name"])
                cut += count
                units.kill(agent["unit"])
        time.sleep(POLL_SECONDS)
    for agent in agents:
        if agent["name"] in killed:
            units.forgive(agent["unit"])
    return cut


def _wait_beforehand(agents: list[Agent], drain_seconds: float, note: Say) -> None:
    own = min((agent.get("config", {}).get("shutdown-timeout", 0) for agent in agents), default=0)
    end = time.monotonic() + drain_seconds - own
    while time.monotonic() < end and (count := sum(_running(agent) or 0 for agent in agents)):
        note(f"{count} requests are running")
        time.sleep(POLL_SECONDS)


def _running(agent: Agent) -> int | None:
    """Return how many requests the engine has, None when it does not say: it is gone, starting, or hangs."""
    load = Engine(agent["host"], agent["port"]).load(timeout_seconds=1.0)
    return None if load is None else load.running + load.waiting
