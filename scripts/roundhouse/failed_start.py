"""Why an agent's last start failed, or why it is started again and again: also once its unit is quiet again.

systemd's journal tells which starts there were, and the log of each; the history tells of a switch that failed after
its engine was up. A start that was ready since ends the matter.
"""

from __future__ import annotations

import time

from . import guard, history, journald, kernel_log, starts, units
from .diagnosis import UNKNOWN, Finding, diagnose
from .journald import Entry
from .plan import Agent
from .starts import Past, Start
from .units import Unit

LOOP = "crash loop"
_LINES = 400  # of a log: enough for the tracebacks of all of an engine's processes
_LOOP_SECONDS = 900.0
_LOOP_RESTARTS = 2  # one restart may be an accident
# The history writes when a switch began; systemd's first word of it may be a moment earlier by rounding.
_SLACK_SECONDS = 1.0


def loop(agent: Agent, unit: Unit, past: Past, kernel: list[Entry]) -> Finding | None:
    """Return the finding of a unit that ends and is started again and again, whatever it is doing right now."""
    if unit.restarts < _LOOP_RESTARTS:  # systemd counts from the last start by hand
        return None
    crashes = past.crashes(time.time() - _LOOP_SECONDS)
    if unit.state == "ready":  # starts that failed are over by now; one that ends while it serves may do so again
        crashes = [each for each in crashes if each.ready]
        if len(crashes) < _LOOP_RESTARTS:
            return None
    elif not unit.restarting and unit.state != "starting":
        return None
    found = _of_start(agent, crashes[-1], kernel) if crashes else _of_unit(agent, unit)
    ended = crashes[-1].ended if crashes else None
    told = f"{unit.restarts} restarts" + (f", its last end at {_clock(ended)}" if ended else "")
    return found._replace(
        cause=LOOP if found.cause == UNKNOWN else found.cause,
        sentence=f"It ends and is started again and again ({told}). {found.sentence}",
    )


def last(agent: Agent, unit: Unit, past: Past, kernel: list[Entry]) -> Finding | None:
    """Return why the last start failed, None when it did not, or a later one was ready."""
    failed = past.last_failed()
    switch = _failed_switch(agent, past)
    if failed and (switch is None or failed.began >= switch.began - _SLACK_SECONDS):
        found = _of_start(agent, failed, kernel)
        given_up = "systemd gave it up after too many starts. " if failed.given_up else ""
        return found._replace(sentence=f"{given_up}Its last start, at {_clock(failed.began)}, failed. {found.sentence}")
    if switch:
        found = diagnose(agent["name"], [switch.cause or "the history does not say why"])
        return found._replace(sentence=f"The last switch to it, at {_clock(switch.began)}, failed. {found.sentence}")
    if (unit.state == "failed" or unit.restarting) and not _was_stopped(past):
        return _of_unit(agent, unit)
    return None


def why(agent: Agent, unit: Unit) -> Finding:
    """Return why a unit that has failed did."""
    return last(agent, unit, starts.of(agent["unit"]), kernel_log.read()) or _of_unit(agent, unit)


def _was_stopped(past: Past) -> bool:
    """Return whether somebody stopped the last start: systemd may call failed what was ended by force or on its way."""
    if not past.starts:  # the journal does not reach back, or may not be read
        return False
    latest = past.starts[-1]
    return latest.asked_to_stop or not (latest.ready or latest.failed)


def _of_start(agent: Agent, start: Start, kernel: list[Entry]) -> Finding:
    lines = kernel_log.of_unit(kernel, agent["unit"], start.began, start.ended)
    lines += guard.said(agent, start.began, start.ended)
    lines += journald.of_start(start.invocation, _LINES)
    return diagnose(agent["name"], lines, result=start.result or "", exit_status=start.exit_status)


def _of_unit(agent: Agent, unit: Unit) -> Finding:
    lines = units.log_of_this_start(agent["unit"])[-_LINES:]
    return diagnose(agent["name"], lines, result=unit.result, exit_status=unit.exit_status)


def _failed_switch(agent: Agent, past: Past) -> history.Entry | None:
    """Return the last switch to the agent when it failed, and none was ready since."""
    to_it = [each for each in history.load() if each.to == agent["name"] and each.outcome != history.REFUSED]
    if not to_it or to_it[-1].outcome not in (history.BACK, history.LOST):
        return None
    entry = to_it[-1]
    if "was interrupted" in (entry.cause or ""):
        return None
    since = [start for start in past.starts if start.began >= entry.began - _SLACK_SECONDS]
    # One that failed at its canary was ready itself; one that failed earlier was not.
    own = 0 if any(start.failed for start in since) else 1
    return None if sum(start.ready for start in since) > own else entry


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
