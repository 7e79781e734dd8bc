"""Find the cause of an engine that ended by itself, and what failed in the last day."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..doctor.cause import UNKNOWN, with_code
from ..doctor.diagnosis import Finding, of_error
from ..state import history
from ..util import timestamps
from . import crash_report, kernel_log, start_history

if TYPE_CHECKING:
    from collections.abc import Mapping

    from roundhouse.schema.plan import Agent, Plan


CODE = "engine_crashed"
_FAILED = (history.ROLLED_BACK, history.ROLLBACK_FAILED)


def entry(agent: Agent, told: Mapping[str, str], now: float) -> history.Entry:
    """Return the history's entry of an engine that ended by itself; `told` is what systemd sets for ExecStopPost=."""
    name, start = agent["name"], _ended(agent, told, now)
    found = start_history.of_start(agent, start, kernel_log.read())
    evidence = found.evidence
    if found.code == UNKNOWN and told.get("EXIT_CODE") in ("killed", "dumped"):
        evidence = f"SIG{told.get('EXIT_STATUS')} ended it; the last error or line of its log: {evidence}"
    return history.Entry(
        began=now,
        previous=[name],
        to=name,
        outcome=history.CRASHED,
        stages={},
        cut=0,
        cause=evidence,
        code=CODE,
        cause_code=found.code,
    )


def _ended(agent: Agent, told: Mapping[str, str], now: float) -> start_history.Start:
    """Return the start that ended just now. systemd logs its end only after this hook."""
    invocation = told.get("INVOCATION_ID", "")
    known = [each for each in start_history.of(agent["unit"]).starts if each.invocation == invocation]
    start = known[-1] if known else start_history.Start(invocation, now)
    exited = told.get("EXIT_CODE") == "exited" and told.get("EXIT_STATUS", "").isdigit()
    return start._replace(
        ended=now,
        result=told.get("SERVICE_RESULT"),
        exit_status=int(told["EXIT_STATUS"]) if exited else None,
    )


def findings(plan: Plan, now: float | None = None) -> list[Finding]:
    """Return a finding for each agent of the plan that failed in the last 24 hours, as far as the history has it.

    That is a crash, a failover, and a switch or deployment that failed without a later one that succeeded.
    """
    now = time.time() if now is None else now
    entries = history.load()
    names = [agent["name"] for agent in plan["agents"]]
    found = []
    for name, crash in crash_report.of_last_day(now, entries).items():
        if name in names:
            cause = of_error(name, crash.last.cause_code, crash.last.cause or "its log is empty")
            said = crash_report.sentence(name, crash.as_json())
            text = said if cause.code == UNKNOWN else f"{said} {cause.text}"
            found.append(cause._replace(code=_code(cause), text=text))
    for entry in entries:
        if entry.outcome == history.FAILED_OVER and entry.began >= now - history.DAY_SECONDS:
            found += [_of_failover(name, entry) for name in entry.previous if name in names]
    recent = [entry for entry in entries if entry.began >= now - history.DAY_SECONDS]
    return [*found, *(_of_switch(name, entry) for name, entry in _failed(recent).items() if name in names)]


def _failed(entries: list[history.Entry]) -> dict[str, history.Entry]:
    """Return the last failed switch or deployment of each agent that none succeeded after."""
    found: dict[str, history.Entry] = {}
    for entry in entries:
        if entry.outcome == history.DONE:
            found.pop(entry.to, None)
        elif entry.outcome in _FAILED and "interrupted" not in (entry.code, entry.cause_code):
            found[entry.to] = entry
    return found


def _of_switch(name: str, entry: history.Entry) -> Finding:
    cause = of_error(name, entry.cause_code or entry.code, with_code(entry.cause or "", entry.code))
    text = f"A switch to {name}, or a deployment of it, failed at {timestamps.local(entry.began)}."
    return cause._replace(text=text if cause.code == UNKNOWN else f"{text} {cause.text}")


def _of_failover(name: str, entry: history.Entry) -> Finding:
    cause = of_error(name, entry.cause_code, with_code(entry.cause or "", entry.code))
    when = timestamps.local(entry.began)
    text = f"systemd gave {name} up at {when}, and {entry.to} was started in its place."
    return cause._replace(code=_code(cause), text=text if cause.code == UNKNOWN else f"{text} {cause.text}")


def _code(cause: Finding) -> str:
    return CODE if cause.code == UNKNOWN else cause.code
