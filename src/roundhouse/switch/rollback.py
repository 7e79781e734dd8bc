"""Roll a failed transaction back: stop the new agents, start the previous ones again, verify their answers."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..agents import canary, drain, gpu_memory
from ..agents.start import start
from ..errors import RoundhouseError
from ..host import systemd
from ..schema.plan import Agent, Plan
from ..state import history, serving
from .context import Transaction

FAILED = "rollback_failed"


def roll_back(
    now: Transaction, what: str, error: BaseException, plan: Plan, undo: Callable[[], list[str]]
) -> RoundhouseError:
    """Roll a transaction back and return its error, or one of code FAILED with the rollback's errors too.

    `what` names the transaction, `plan` is the plan of its previous agents. `undo` stops the failed agents and returns
    their units. If one previous agent fails, the others still start. Call it with signals_ignored().
    """
    failure = as_error(what, error)
    now.report(failure.message)
    now.log.phase("rollback", now.stages, failure.code)
    failed: list[tuple[str, RoundhouseError]] = []
    gone: list[str] = []
    try:
        gone = undo()
    except Exception as second:  # some files may be the new ones; systemd still has the loaded units
        failed.append(("The rollback failed too", as_error("The rollback", second)))
    for other in now.previous:
        now.report(f"restoring {other['name']}")
        try:
            _restore(now, plan, other, gone)
        except Exception as second:
            failed.append((f"The rollback to {other['name']} failed too", as_error(what, second)))
    return _both(failure, failed) if failed else failure


def outcome(now: Transaction, failure: RoundhouseError) -> str:
    """Return the outcome for the history; `failure` is what roll_back() returned."""
    if failure.code == "interrupted":
        return history.INTERRUPTED
    return history.ROLLED_BACK if failure.code != FAILED and now.previous else history.ROLLBACK_FAILED


def _both(failure: RoundhouseError, failed: list[tuple[str, RoundhouseError]]) -> RoundhouseError:
    """Return the error of a transaction whose rollback failed too; its cause is the transaction's."""
    errors = [failure, *(error for _, error in failed)]
    text = " ".join([failure.text, *(f"{what}{_why(error, failure)}" for what, error in failed)])
    made = RoundhouseError(FAILED, text, " ".join(dict.fromkeys(each.remedy for each in errors if each.remedy)))
    cause = failure.fields.get("cause", failure.code)
    made.fields = {"cause": cause, "errors": [each.as_json() for each in errors]}
    return made


def _why(error: RoundhouseError, first: RoundhouseError) -> str:
    """Return the end of the sentence about an error of a rollback; a disk's error is not repeated for each folder."""
    same = error.text == first.text or (error.code == first.code and error.code in serving.UNWRITABLE)
    return " for the same reason." if same else f": {error.text}"


def as_error(what: str, error: BaseException) -> RoundhouseError:
    """Return the exception that ended `what` as a RoundhouseError."""
    if isinstance(error, RoundhouseError):
        return error
    if isinstance(error, OSError):
        return serving.unwritable(serving.FOLDER, error)  # names the file's own folder, if the error has it
    if isinstance(error, Exception):  # a bug here or in a library must not cost an agent
        text = "{what} failed with an unexpected error: {error}."
        return RoundhouseError("unexpected", text, what=what, error=repr(error))
    return RoundhouseError("interrupted", "{what} was interrupted.", what=what)


def _restore(now: Transaction, plan: Plan, other: Agent, gone: list[str]) -> None:
    """Start a previous agent again; `gone` are the units of the failed agents. Raises RoundhouseError."""
    if systemd.state(other["unit"]) == "draining":
        drain.drain([other], now.drain_seconds, now.report, now.log.note)
    if systemd.state(other["unit"]) != "ready":
        try:
            gpu_memory.wait_until_free(other, gone, now.log.note)
        except RoundhouseError as held:  # the engine may start anyway, and its own error says more
            now.report(held.message)
        start(other, now.report, now.log.note)
    canary.verify(plan, other)


@contextmanager
def signals_ignored() -> Iterator[None]:
    """Ignore a second Ctrl-C and a lost terminal: a rollback has to complete, so that an agent is active."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
