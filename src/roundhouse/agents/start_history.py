"""Read the starts of a unit: those that became ready, and those that failed and why, also after the unit stopped.

systemd's journal has the starts and their logs. The history has switches that failed after their engine was ready. A
later start that became ready makes both obsolete.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from ..doctor.cause import UNKNOWN, with_code
from ..doctor.diagnosis import Finding, diagnose, of_error
from ..host import journal
from ..host.journal import Entry
from ..host.systemd import Unit
from ..state import history
from ..util import timestamps
from . import kernel_log, watchdog

if TYPE_CHECKING:
    from roundhouse.schema.plan import Agent


# systemd's ids of events of a unit (sd-messages.h). Their texts change between versions, the ids do not.
_BEGINS = "7d4958e842da4a758f6c1cdc7b36dcc5"
_READY = "39f53479d3a045ac8e11786248231fbf"
_START_FAILED = "be02cf6855d2428ba40df7e9d022f03d"  # not logged for a unit that is stopped before it is ready
_ASKED_TO_STOP = "de5b426a63be47a7b6ac3eaac82e2f6f"
_EXITED = "98e322203f7a4ed290d09fe03c09fe15"
_FAILED = "d9b373ed55a64feb8242e02dbe79a49c"
_ENDED_WELL = "7ad2d189f7e94e70a38c781354912448"
_MESSAGES = (_BEGINS, _READY, _START_FAILED, _ASKED_TO_STOP, _EXITED, _FAILED, _ENDED_WELL)
_FIELDS = ("MESSAGE_ID", "INVOCATION_ID", "UNIT_RESULT", "EXIT_STATUS", "EXIT_CODE", "COMMAND")
# A failed start has about 7 events, so these are the last 30 starts.
_EVENTS = 200


class Start(NamedTuple):
    """One start. `ended` is None while it runs; `result` is systemd's result, None without a failure.

    A start that was not asked to stop, and neither became ready nor failed, was stopped before it was ready.
    """

    invocation: str
    began: float  # seconds since the epoch
    ready: bool = False
    failed: bool = False  # before it was ready
    asked_to_stop: bool = False
    ended: float | None = None
    result: str | None = None
    exit_status: int | None = None
    given_up: bool = False  # systemd refused the next start, after too many


class Past(NamedTuple):
    """The starts of a unit in the journal, oldest first."""

    starts: list[Start]

    def last_failed(self) -> Start | None:
        """Return the last start that failed, None if a later one was ready."""
        for start in reversed(self.starts):
            if start.ready or start.failed:
                return None if start.ready else start
        return None

    def crashes(self, since: float) -> list[Start]:
        """Return the starts that ended by themselves since a time, ready or not, oldest first."""
        own = [each for each in self.starts if each.failed or (each.ready and not each.asked_to_stop)]
        return [each for each in own if each.ended is not None and each.ended >= since]


def of(unit: str) -> Past:
    """Return a unit's starts, as far as the journal has them."""
    matches = (f"UNIT={unit}", *(f"MESSAGE_ID={each}" for each in _MESSAGES))
    return past(journal.entries(*matches, lines=_EVENTS, fields=_FIELDS))


def past(events: list[Entry]) -> Past:
    """Return the starts that systemd's messages describe."""
    made: dict[str, Start] = {}
    for event in events:
        kind, name = event.fields.get("MESSAGE_ID", ""), event.fields.get("INVOCATION_ID", "")
        if not name:  # a start that is only queued
            continue
        before = made.get(name) or Start(name, event.at)
        made[name] = _after(before, event, kind)
    return Past(list(made.values()))


def _after(start: Start, event: Entry, kind: str) -> Start:
    told = event.fields
    start = start._replace(
        ready=start.ready or kind == _READY,
        failed=start.failed or kind == _START_FAILED,
        asked_to_stop=start.asked_to_stop or kind == _ASKED_TO_STOP,
    )
    # Of the engine itself, not of the hook that waits for it. The number of a signal does not count as exit status.
    if kind == _EXITED and (told.get("COMMAND"), told.get("EXIT_CODE")) == ("ExecStart", "exited"):
        return start._replace(exit_status=int(told["EXIT_STATUS"]))
    if kind == _FAILED and start.ended is not None:
        return start._replace(given_up=True)  # systemd refused another start: a refusal has no invocation of its own
    if kind in (_FAILED, _ENDED_WELL):
        return start._replace(ended=event.at, result=told.get("UNIT_RESULT"))
    return start


LOOP = "crash_loop"
_LINES = 400  # of a log: enough for the tracebacks of all of an engine's processes
_LOOP_SECONDS = 900.0
_LOOP_RESTARTS = 2  # one restart may be an accident

# The begin of a switch in the history is rounded, and may be later than systemd's first message about it.
_SLACK_SECONDS = 1.0


def loop(agent: Agent, unit: Unit, past: Past, kernel: list[Entry]) -> Finding | None:
    """Return the finding of a unit that crashes repeatedly, whatever its present state."""
    if unit.restarts < _LOOP_RESTARTS:  # systemd counts from the last start by hand
        return None
    crashes = past.crashes(time.time() - _LOOP_SECONDS)
    if unit.state == "ready":  # failed starts are over by now; an engine that crashed while ready may do so again
        crashes = [each for each in crashes if each.ready]
        if len(crashes) < _LOOP_RESTARTS:
            return None
    elif not unit.restarting and unit.state != "starting":
        return None
    found = of_start(agent, crashes[-1], kernel) if crashes else _of_unit(agent, unit)
    ended = crashes[-1].ended if crashes else None
    told = f"{unit.restarts} restarts" + (f", its last end at {_clock(ended)}" if ended else "")
    return found._replace(
        code=LOOP if found.code == UNKNOWN else found.code,
        text=f"It crashes repeatedly ({told}). {found.text}",
    )


def last(agent: Agent, unit: Unit, past: Past, kernel: list[Entry]) -> Finding | None:
    """Return why the last start failed, None if it did not, or if a later one was ready."""
    failed = past.last_failed()
    switch = _failed_switch(agent, past)
    if failed and (switch is None or failed.began >= switch.began - _SLACK_SECONDS):
        found = of_start(agent, failed, kernel)
        given_up = "systemd gave it up after too many starts. " if failed.given_up else ""
        return found._replace(text=f"{given_up}Its last start, at {_clock(failed.began)}, failed. {found.text}")
    if switch:
        said = with_code(switch.cause or "the history has no cause", switch.code)
        found = of_error(agent["name"], switch.cause_code or switch.code, said)
        return found._replace(text=f"The last switch to it, at {_clock(switch.began)}, failed. {found.text}")
    if (unit.state == "failed" or unit.restarting) and not was_stopped(past):
        return _of_unit(agent, unit)
    return None


def explain(agent: Agent, unit: Unit) -> Finding:
    """Return why a unit is failed."""
    return last(agent, unit, of(agent["unit"]), kernel_log.read()) or _of_unit(agent, unit)


def problem(agent: Agent, unit: Unit) -> Finding | None:
    """Return why a unit is failed; None if it was stopped, which is not a fault."""
    seen = of(agent["unit"])
    return None if was_stopped(seen) else last(agent, unit, seen, kernel_log.read()) or _of_unit(agent, unit)


def was_stopped(past: Past) -> bool:
    """Return whether the last start was stopped. systemd calls a unit failed that is stopped while it starts."""
    if not past.starts:  # the journal does not reach back, or cannot be read
        return False
    latest = past.starts[-1]
    return latest.asked_to_stop or not (latest.ready or latest.failed)


def of_start(agent: Agent, start: Start, kernel: list[Entry]) -> Finding:
    """Return why a start ended, from the kernel's log, the watchdog's and the unit's own."""
    lines = kernel_log.of_unit(kernel, agent["unit"], start.began, start.ended)
    lines += watchdog.log_between(agent, start.began, start.ended)
    lines += journal.of_start(start.invocation, _LINES)
    return diagnose(agent["name"], lines, result=start.result or "", exit_status=start.exit_status)


def _of_unit(agent: Agent, unit: Unit) -> Finding:
    lines = journal.log_of_this_start(agent["unit"])[-_LINES:]
    return diagnose(agent["name"], lines, result=unit.result, exit_status=unit.exit_status)


def _failed_switch(agent: Agent, past: Past) -> history.Entry | None:
    """Return the last switch to the agent if it failed and no start was ready since."""
    to_it = [each for each in history.load() if each.to == agent["name"] and each.outcome != history.REFUSED]
    if not to_it or to_it[-1].outcome not in (history.ROLLED_BACK, history.ROLLBACK_FAILED):
        return None
    entry = to_it[-1]
    if "interrupted" in (entry.code, entry.cause_code):
        return None
    since = [start for start in past.starts if start.began >= entry.began - _SLACK_SECONDS]
    # A switch that failed at its canary had a ready start of its own; one that failed earlier had none.
    own = 0 if any(start.failed for start in since) else 1
    return None if sum(start.ready for start in since) > own else entry


def _clock(at: float) -> str:
    return timestamps.local(at)
