"""A unit's starts as systemd's journal tells them: which became ready, which failed, which somebody stopped."""

from __future__ import annotations

from typing import Any, NamedTuple

from . import journald
from .journald import Entry

# systemd's own names of what happens to a unit (sd-messages.h); the words beside them change, these do not.
_BEGINS = "7d4958e842da4a758f6c1cdc7b36dcc5"
_READY = "39f53479d3a045ac8e11786248231fbf"
_START_FAILED = "be02cf6855d2428ba40df7e9d022f03d"  # which is not said of one that is stopped before it was ready
_ASKED_TO_STOP = "de5b426a63be47a7b6ac3eaac82e2f6f"
_EXITED = "98e322203f7a4ed290d09fe03c09fe15"
_FAILED = "d9b373ed55a64feb8242e02dbe79a49c"
_ENDED_WELL = "7ad2d189f7e94e70a38c781354912448"
_FLAGS = {_READY: "ready", _START_FAILED: "failed", _ASKED_TO_STOP: "asked_to_stop"}
_MESSAGES = (_BEGINS, *_FLAGS, _EXITED, _FAILED, _ENDED_WELL)
_FIELDS = ("MESSAGE_ID", "INVOCATION_ID", "UNIT_RESULT", "EXIT_STATUS", "EXIT_CODE", "COMMAND")
# Some seven of a start that fails: the last thirty starts.
_EVENTS = 200


class Start(NamedTuple):
    """One start. `ended` is None while it runs; `result` is systemd's word for a failure, None for none.

    One that nobody asked to stop, and that neither became ready nor failed, was stopped on its way.
    """

    invocation: str
    began: float  # seconds since the epoch
    ready: bool = False
    failed: bool = False  # before it was ready
    asked_to_stop: bool = False
    ended: float | None = None
    result: str | None = None
    exit_status: int | None = None
    given_up: bool = False  # systemd refused the one after it, because there had been too many


class Past(NamedTuple):
    """What the journal tells of a unit: its starts, oldest first."""

    starts: list[Start]

    def last_failed(self) -> Start | None:
        """Return the last start that failed, None when a later one was ready."""
        for start in reversed(self.starts):
            if start.ready or start.failed:
                return None if start.ready else start
        return None

    def crashes(self, since: float) -> list[Start]:
        """Return the starts that ended by themselves since then, ready or not, oldest first."""
        own = [each for each in self.starts if each.failed or (each.ready and not each.asked_to_stop)]
        return [each for each in own if each.ended is not None and each.ended >= since]


def of(unit: str) -> Past:
    """Return a unit's past, as far as the journal has it."""
    matches = (f"UNIT={unit}", *(f"MESSAGE_ID={each}" for each in _MESSAGES))
    return past(journald.entries(*matches, lines=_EVENTS, fields=_FIELDS))


def past(events: list[Entry]) -> Past:
    """Return the past that systemd's messages tell."""
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
    if kind in _FLAGS:
        change: dict[str, Any] = {_FLAGS[kind]: True}
        return start._replace(**change)
    # Of the engine itself, not of what waits beside it; the number of a signal is no exit status.
    if kind == _EXITED and (told.get("COMMAND"), told.get("EXIT_CODE")) == ("ExecStart", "exited"):
        return start._replace(exit_status=int(told["EXIT_STATUS"]))
    if kind == _FAILED and start.ended is not None:
        return start._replace(given_up=True)  # another one was refused: such a one has no name of its own
    if kind in (_FAILED, _ENDED_WELL):
        return start._replace(ended=event.at, result=told.get("UNIT_RESULT"))
    return start
