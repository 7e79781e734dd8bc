"""The agents that leave: asked to stop, drained, and ended when they do not go.

An engine that is asked to stop takes no new work from that moment (vLLM answers it with 500) and lets what runs finish,
for as long as its own shutdown-timeout. A longer drain than that waits before it asks, while new work still comes in.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ..host import systemd
from ..plan.deployed import Agent
from ..vllm.client import Engine

POLL_SECONDS = 0.1
# An idle vLLM is gone 5 to 9 s after it was asked (vllm 0.32 on a busy CPU); after this, in peace, it hangs. The plan
# may say otherwise: stop_grace_seconds.
GRACE_SECONDS = 15.0
UP = ("ready", "starting", "draining")  # states in which an agent has, or is about to free, its card

Say = Callable[[str], None]


def leave(agents: list[Agent], drain_seconds: float, report: Say, note: Say) -> int:
    """Stop the agents, and return how many of their requests were cut. Each is gone when this returns."""
    begun = time.monotonic()
    running = {agent["name"]: _running(agent, None) for agent in agents}
    for agent in agents:
        report(f"stopping {agent['name']} ({_told(running[agent['name']], drain_seconds)})")
    _wait_beforehand(agents, drain_seconds, note)
    for agent in agents:
        if systemd.state(agent["unit"]) in UP:
            systemd.stop(agent["unit"], wait=False)
    asked = time.monotonic()
    cut = 0
    killed = set[str]()
    staying = agents
    while staying:
        states = {agent["name"]: systemd.state(agent["unit"]) for agent in staying}
        gone = [agent for agent in staying if states[agent["name"]] not in UP]
        for agent in gone:
            count = running[agent["name"]] or 0
            late = time.monotonic() - asked >= _own_seconds(agent)
            if agent["name"] in killed:
                systemd.forgive(agent["unit"])
            elif count and (late or states[agent["name"]] == "failed"):
                report(f"{agent['name']} ended itself, {count} requests are cut")
                cut += count
        staying = [agent for agent in staying if agent not in gone]
        running |= {agent["name"]: _running(agent, running[agent["name"]]) for agent in staying}
        note(", ".join(f"{agent['name']}: {running[agent['name']] or 0} running" for agent in staying))
        seconds = time.monotonic() - begun
        for agent in staying:
            count = running[agent["name"]] or 0
            late = seconds >= drain_seconds and count > 0
            hangs = seconds >= drain_seconds + agent.get("stop_grace_seconds", GRACE_SECONDS)
            if agent["name"] not in killed and (late or hangs):
                report(f"{agent['name']} did not stop in {seconds:.0f} s: ending it, {count} requests are cut")
                killed.add(agent["name"])
                cut += count
                systemd.kill(agent["unit"])
        time.sleep(POLL_SECONDS if staying else 0)
    return cut


def _told(count: int | None, drain_seconds: float) -> str:
    if count is None:
        return "it does not say what is running"
    return f"{count} running, which may end within {drain_seconds:g} s" if count else "nothing is running"


def _own_seconds(agent: Agent) -> float:
    """Return how long the engine itself lets requests run after it was asked to stop; vLLM's default is none."""
    return float((agent.get("config") or {}).get("shutdown-timeout", 0))


def _wait_beforehand(agents: list[Agent], drain_seconds: float, note: Say) -> None:
    own = min((_own_seconds(agent) for agent in agents), default=0)
    end = time.monotonic() + drain_seconds - own
    while time.monotonic() < end and (count := sum(_running(agent, 0) or 0 for agent in agents)):
        note(f"{count} requests are running")
        time.sleep(POLL_SECONDS)


def _running(agent: Agent, before: int | None) -> int | None:
    """Return how many requests the engine has.

    One that listens and does not answer hangs, with what it had `before`; one that does not listen starts or ends, and
    has none.
    """
    engine = Engine(agent["host"], agent["engine_port"])
    load = engine.load(timeout_seconds=1.0)
    if load is None:
        return before if engine.listens() else 0
    return load.running + load.waiting
