"""The way back: the agent that failed is stopped, and everyone that it displaced serves again and answers."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from ..agents import canary, drain, gpu_memory
from ..agents.start import start
from ..errors import RoundhouseError
from ..host import systemd
from ..plan.deployed import Agent, Plan
from ..state import history, serving
from ..vllm.client import Engine
from .context import Turn, Work, remember


def way_back(turn: Turn, error: BaseException) -> NoReturn:
    """Bring back whoever served, and raise RoundhouseError with what happened."""
    what = f"the switch to {turn.agent['name']}"
    stage, why = told(what, error)
    outcome = history.BACK if turn.back else history.LOST
    with deaf_to_signals():
        turn.report(why)
        turn.log.phase("back", turn.stages)
        # A killed switch may have left another agent half-way up, which nobody committed.
        failed = [turn.agent, *(other for other in turn.leaving if other not in turn.back)]
        try:
            drain.leave(failed, 0, turn.report, turn.log.note)
        except Exception as second:  # whatever is wrong with this unit, the one before must come back
            turn.report(told(what, second)[1])
        for other in turn.back:
            turn.report(f"bringing {other['name']} back")
            try:
                bring_back(turn, turn.plan, other, [each["unit"] for each in failed])
            except Exception as second:
                outcome, stage = history.LOST, "restore"
                why = f"{why} {other['name']} did not come back either: {told(what, second)[1]}"
        _close(turn)
        remember(turn, outcome, why)
    raise RoundhouseError(stage, why) from None


def told(what: str, error: BaseException) -> tuple[str, str]:
    """Return the stage and the sentence of what ended `what`."""
    if isinstance(error, RoundhouseError):
        return error.code, error.message
    if isinstance(error, OSError):
        return "state", serving.unwritable(serving.FOLDER, error).message
    if isinstance(error, Exception):  # an error of ours, or of a library: it costs nobody an agent
        return "switch", f"{what} failed in a way that was not foreseen: {error!r}."
    return "interrupted", f"{what} was interrupted."


def bring_back(work: Work, plan: Plan, other: Agent, gone: list[str]) -> None:
    """Let one serve again that served before; `gone` are the units of those who failed. Raises RoundhouseError."""
    if systemd.state(other["unit"]) == "draining":
        drain.leave([other], work.drain_seconds, work.report, work.log.note)
    if systemd.state(other["unit"]) != "ready":
        try:
            gpu_memory.wait_until_free(other, gone, work.log.note)
        except RoundhouseError as held:  # its engine says more, and may start all the same
            work.report(held.message)
        start(other, work.report, work.log.note)
    canary.verify(plan, other, Engine(other["host"], other["engine_port"]))


def _close(turn: Turn) -> None:
    """Say on disk who serves now: a signal between the commit and its end comes here with the failed one on record."""
    for work in (_record, lambda turn: turn.log.end()):
        try:
            work(turn)
        except (OSError, RoundhouseError) as error:  # the units tell the next call the same
            turn.report(f"the state on disk was left as it is: {error}")


def _record(turn: Turn) -> None:
    if turn.agent["name"] in serving.serving():
        for other in turn.back:
            serving.record(other["name"], other["conflicts"])


@contextmanager
def deaf_to_signals() -> Iterator[None]:
    """Let no second Ctrl-C and no lost terminal end the way back: it is what keeps an agent serving."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
