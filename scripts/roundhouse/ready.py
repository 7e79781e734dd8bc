"""When an agent's unit is ready: its engine is healthy and serves it. Run by systemd as the unit's ExecStartPost."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from . import gateway, journal, state
from .engine import Engine
from .errors import RoundhouseError
from .plan import Agent, Plan

POLL_SECONDS = 0.1


def wait_until_healthy(plan: Plan, agent: Agent, main_pid: int | None, report: Callable[[str], None]) -> None:
    """Wait for /health without a limit of its own: systemd's TimeoutStartSec ends it.

    So `systemctl start` returns when the agent can be used. systemd does not end this when the main process dies, so
    `main_pid` (its $MAINPID) is watched here.
    """
    engine = Engine(agent["host"], agent["engine_port"])
    while not engine.healthy():
        if main_pid is not None and not Path(f"/proc/{main_pid}").exists():
            raise RoundhouseError("ready", f"the engine of {agent['name']} ended before it was healthy.")
        time.sleep(POLL_SECONDS)
    names = [entry["id"] for entry in engine.served()]
    if agent["name"] not in names:
        raise RoundhouseError("ready", f"port {agent['engine_port']} serves {', '.join(names)}, not {agent['name']}.")
    _record(plan, agent, report)


def _record(plan: Plan, agent: Agent, report: Callable[[str], None]) -> None:
    """Note who serves, when no switch is about: a switch notes it itself, once the agent has answered its canary."""
    if journal.path().exists():
        return
    try:
        state.record(agent["name"], agent["conflicts"])
    except (OSError, RoundhouseError) as error:  # no reason to end an engine that serves
        report(f"who serves was not kept, so a reboot brings back another: {error}")
    gateway.follow(plan, report)
