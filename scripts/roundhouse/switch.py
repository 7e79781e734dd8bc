"""The switch: put one agent on the track, or leave the one that was there.

check -> start (systemd stops the agents that share the card first) -> ready -> canary. Whatever
fails after the check, the agent that served before is started again and must answer too.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from . import ports, state, units, weights
from .engine import Engine
from .errors import RoundhouseError
from .plan import find

POLL_SECONDS = 0.25
CAUSE_CHARACTERS = 200  # pydantic prints a whole configuration behind its first words
Report = Callable[[str], None]
Agent = dict[str, Any]


def ensure_ready(plan: dict[str, Any], name: str, report: Report) -> dict[str, Any]:
    """Bring `name` to ready and return {"agent", "changed", "from", "stages", "answer"}.

    `stages` holds the seconds of each stage. Raises UsageError when nothing was touched and
    nothing could be, RoundhouseError when the switch failed; its text says who serves now.
    """
    agent = find(plan, name)
    with state.switching(name):
        stages: dict[str, float] = {}
        if units.show(agent["unit"]).state == "ready":
            answer = _timed(stages, "canary", lambda: _engine(agent).canary(name))
            report(f"{name} is ready already on port {agent['port']}")
            return {"agent": name, "changed": False, "from": name, "stages": stages, "answer": answer}
        previous = [find(plan, other) for other in agent["conflicts"] if _serves(find(plan, other))]
        try:
            check(agent)
        except RoundhouseError as error:
            raise RoundhouseError(error.stage, f"{error.message} {_who_serves(previous)}") from None
        try:
            _bring_up(agent, previous, stages, report)
            answer = _timed(stages, "canary", lambda: _engine(agent).canary(name))
        except (RoundhouseError, KeyboardInterrupt) as error:
            _way_back(agent, previous, error, report)
        report(f"{name} is ready on port {agent['port']}")
        return {
            "agent": name,
            "changed": True,
            "from": previous[0]["name"] if previous else None,
            "stages": stages,
            "answer": answer,
        }


def check(agent: Agent) -> None:
    """Refuse what is known to fail, before anything is stopped. Raises RoundhouseError."""
    found = weights.problem(Path(agent["model_path"]))
    if found:
        raise RoundhouseError(
            "model", f"{found}: put the model of {agent['name']} back with ansible-playbook site.yml."
        )
    holder = ports.holder(agent["port"])
    if holder and holder.unit != agent["unit"]:
        raise RoundhouseError(
            "port",
            f"port {agent['port']} of {agent['name']} is taken by {holder}: "
            "stop that, or give the agent another port in the roster.",
        )


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
    restarts = units.show(agent["unit"]).restarts
    units.start(agent["unit"])
    waiting = previous
    for other in previous:
        report(f"stopping {other['name']} (running requests may finish)")
    if not previous:
        report(f"starting {agent['name']}")
    while True:
        if waiting and all(units.show(other["unit"]).state in ("stopped", "failed") for other in waiting):
            waiting = []
            stages["stop"] = round(time.monotonic() - begun, 1)
            report(f"stopped in {stages['stop']} s; starting {agent['name']}")
            begun = time.monotonic()
        unit = units.show(agent["unit"])
        if unit.state == "ready":
            stages["start"] = round(time.monotonic() - begun, 1)
            report(f"healthy after {stages['start']} s")
            return
        if unit.restarting or unit.restarts > restarts or unit.state == "failed":
            raise RoundhouseError("start", f"{agent['name']} did not start: {_cause(agent, unit)}")
        if unit.state == "stopped" and not unit.pending and not waiting:
            raise RoundhouseError("start", f"{agent['name']} was stopped by somebody else while it started.")
        time.sleep(POLL_SECONDS)


def _way_back(agent: Agent, previous: list[Agent], error: BaseException, report: Report) -> NoReturn:
    """Stop the agent that failed, bring the previous one back, and raise with what happened."""
    why = error.message if isinstance(error, RoundhouseError) else f"the switch to {agent['name']} was interrupted."
    report(why)
    units.stop(agent["unit"])
    for other in previous:
        report(f"bringing {other['name']} back")
        try:
            _bring_up(other, [], {}, report)
            _engine(other).canary(other["name"])
        except RoundhouseError as second:
            message = f"{why} {other['name']} did not come back either: {second.message} No agent serves now."
            raise RoundhouseError("restore", message) from None
    stage = error.stage if isinstance(error, RoundhouseError) else "interrupted"
    raise RoundhouseError(stage, f"{why} {_who_serves(previous)}") from None


def _serves(agent: Agent) -> bool:
    return units.show(agent["unit"]).state in ("ready", "starting")


def _who_serves(agents: list[Agent]) -> str:
    names = [f"{agent['name']} serves on port {agent['port']}" for agent in agents if _engine(agent).healthy()]
    return (" and ".join(names) or "No agent serves now") + "."


def _engine(agent: Agent) -> Engine:
    return Engine(agent["host"], agent["port"])


def _timed(stages: dict[str, float], stage: str, work: Callable[[], str]) -> str:
    begun = time.monotonic()
    result = work()
    stages[stage] = round(time.monotonic() - begun, 1)
    return result


def _cause(agent: Agent, unit: units.Unit) -> str:
    """Return the engine's own last error line, which is what a person would look for in the log."""
    lines = units.log(agent["unit"], 300)
    errors = [line for line in lines if re.search(r"\b\w*(Error|Exception)\b: |error: |Value error, ", line)]
    # The root cause is raised first; "Engine core initialization failed" and its like come after it.
    told = [line for line in errors if "Engine core initialization failed" not in line]
    last = (told or errors or lines or ["its log is empty"])[-1]
    text = re.sub(r"^(\(\w+ pid=\d+\) )?((INFO|WARNING|ERROR) [\d-]+ [\d:]+ \[[^\]]*\] ?)?", "", last).strip()
    text = text if len(text) <= CAUSE_CHARACTERS else text[:CAUSE_CHARACTERS] + " ..."
    status = f"exit status {unit.exit_status}" if unit.exit_status is not None else unit.result
    return f"{text} ({status}; the rest: switch.py logs {agent['name']})."
