"""The switch: put one agent on the track, or leave the one that was there.

check -> start (systemd stops the agents that share the card first) -> ready -> canary. Whatever
fails after the check, the agent that served before is started again and must answer too.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from . import measured, ports, state, units, weights
from .cause import cause
from .engine import Engine
from .errors import RoundhouseError
from .plan import Agent, Plan, find

POLL_SECONDS = 0.25
UP = ("ready", "starting", "draining")  # states in which an agent has, or is about to free, its card
Report = Callable[[str], None]


def ensure_ready(plan: Plan, name: str, report: Report) -> dict[str, Any]:
    """Bring `name` to ready and return {"agent", "changed", "from", "stages", "answer"}.

    `stages` holds the seconds of each stage. Raises UsageError for an unknown name and
    RoundhouseError when the switch failed; its text says who serves now.
    """
    agent = find(plan, name)
    with state.switching(name):
        try:
            return ensure_ready_locked(plan, agent, report)
        except RoundhouseError as error:
            raise RoundhouseError(error.stage, f"{error.message} {who_serves(plan)}") from None


def ensure_ready_locked(plan: Plan, agent: Agent, report: Report) -> dict[str, Any]:
    """Do what ensure_ready does, for a caller that holds the lock and says who serves."""
    name, stages = agent["name"], dict[str, float]()
    found = units.show(agent["unit"]).state
    if found == "ready":
        try:
            answer = _timed(stages, "canary", lambda: _engine(agent).canary(name))
            report(f"{name} is ready already on port {agent['port']}")
            return {"agent": name, "changed": False, "from": name, "stages": stages, "answer": answer}
        except RoundhouseError as error:
            report(f"{error.message} Restarting {name}")
    previous = [other for other in _rivals(plan, agent) if units.show(other["unit"]).state in UP]
    check(agent, [other["unit"] for other in previous])
    try:
        _bring_up(agent, previous, stages, report)
        answer = _timed(stages, "canary", lambda: _engine(agent).canary(name))
    except (RoundhouseError, KeyboardInterrupt) as error:
        if isinstance(error, KeyboardInterrupt) and found == "starting":
            # It was on its way before this command came, so it is not this command's to stop.
            raise RoundhouseError("interrupted", f"interrupted; {name} goes on starting.") from None
        _way_back(agent, previous, error, report)
    report(f"{name} is ready on port {agent['port']}")
    came_from = previous[0]["name"] if previous else None
    return {"agent": name, "changed": True, "from": came_from, "stages": stages, "answer": answer}


def check(agent: Agent, leaving: list[str]) -> None:
    """Refuse what is known to fail, before anything is stopped. Raises RoundhouseError.

    `leaving` are the units that will have left before the agent starts: their ports will be free.
    """
    found = weights.problem(Path(agent["model_path"]))
    if found:
        raise RoundhouseError("model", f"{found}: {weights.cure(agent['model'])}")
    holder = ports.holder(agent["port"])
    if holder and holder.unit not in (agent["unit"], *leaving):
        raise RoundhouseError(
            "port",
            f"port {agent['port']} of {agent['name']} is taken by {holder}: "
            "stop that, or give the agent another port in the roster.",
        )


def who_serves(plan: Plan) -> str:
    """Return the sentence that ends every failure."""
    healthy = [agent for agent in plan["agents"] if _engine(agent).healthy()]
    names = [f"{agent['name']} serves on port {agent['port']}" for agent in healthy]
    return (" and ".join(names) or "No agent serves now") + "."


def wait_until_healthy(agent: Agent, main_pid: int | None) -> None:
    """Wait for /health without a limit of its own: systemd's TimeoutStartSec ends it.

    This is the unit's ExecStartPost, so `systemctl start` returns when the agent can be used. systemd
    does not end it when the main process dies, so `main_pid` (its $MAINPID) is watched here.
    """
    engine = _engine(agent)
    while not engine.healthy():
        if main_pid is not None and not Path(f"/proc/{main_pid}").exists():
            raise RoundhouseError("ready", f"the engine of {agent['name']} ended before it was healthy.")
        time.sleep(POLL_SECONDS)
    names = [entry["id"] for entry in engine.served()]
    if agent["name"] not in names:
        raise RoundhouseError("ready", f"port {agent['port']} serves {', '.join(names)}, not {agent['name']}.")
    state.record(agent["name"], agent["conflicts"])


def _bring_up(agent: Agent, previous: list[Agent], stages: dict[str, float], report: Report) -> None:
    begun = time.monotonic()
    if units.show(agent["unit"]).state == "ready":
        report(f"stopping {agent['name']}")
        units.stop(agent["unit"])
    units.start(agent["unit"])
    restarts = units.show(agent["unit"]).restarts
    waiting = previous
    for other in previous:
        report(f"stopping {other['name']} (running requests may finish)")
    if not previous:
        report(f"starting {agent['name']}")
    while True:
        if waiting and all(units.show(other["unit"]).state not in UP for other in waiting):
            waiting = []
            stages["stop"] = round(time.monotonic() - begun, 1)
            report(f"stopped in {stages['stop']} s; starting {agent['name']}")
            begun = time.monotonic()
        unit = units.show(agent["unit"])
        if unit.state == "ready":
            stages["start"] = round(time.monotonic() - begun, 1)
            report(f"healthy after {stages['start']} s")
            _learn(agent, report)
            return
        if unit.restarting or unit.restarts > restarts or unit.state == "failed":
            _learn(agent, report)
            why = cause(agent["name"], unit, units.log_of_this_start(agent["unit"]))
            raise RoundhouseError("start", f"{agent['name']} did not start: {why}")
        if unit.state == "stopped" and not unit.pending and not waiting:
            raise RoundhouseError("start", f"{agent['name']} was stopped by somebody else while it started.")
        time.sleep(POLL_SECONDS)


def _learn(agent: Agent, report: Report) -> None:
    """Keep what the engine stated of its memory, for the next plan. No reason to fail a switch."""
    try:
        measured.learn(agent, units.log_of_this_start(agent["unit"]))
    except OSError as error:
        report(f"what the engine stated of its memory was not kept: {error}")


def _way_back(agent: Agent, previous: list[Agent], error: BaseException, report: Report) -> NoReturn:
    """Stop the agent that failed, bring back every one that it displaced, and raise with what happened."""
    stage, why = "interrupted", f"the switch to {agent['name']} was interrupted."
    if isinstance(error, RoundhouseError):
        stage, why = error.stage, error.message
    report(why)
    with _deaf_to_signals():
        report(f"stopping {agent['name']}")
        try:
            units.stop(agent["unit"])
        except RoundhouseError as second:  # whatever is wrong with this unit, the one before must come back
            report(second.message)
        for other in previous:
            report(f"bringing {other['name']} back")
            try:
                _bring_up(other, [], {}, report)
                _engine(other).canary(other["name"])
            except RoundhouseError as second:
                stage, why = "restore", f"{why} {other['name']} did not come back either: {second.message}"
    raise RoundhouseError(stage, why) from None


@contextmanager
def _deaf_to_signals() -> Iterator[None]:
    """Let no second Ctrl-C and no lost terminal end the way back: it is what keeps an agent serving."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _rivals(plan: Plan, agent: Agent) -> list[Agent]:
    return [find(plan, name) for name in agent["conflicts"]]


def _engine(agent: Agent) -> Engine:
    return Engine(agent["host"], agent["port"])


def _timed(stages: dict[str, float], stage: str, work: Callable[[], str]) -> str:
    begun = time.monotonic()
    result = work()
    stages[stage] = round(time.monotonic() - begun, 1)
    return result
