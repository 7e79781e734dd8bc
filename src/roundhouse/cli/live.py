"""The progress of a command: its sentences, and after ten silent seconds the state of the running switch."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..state import switch_journal
from ..state.note import Report
from ..util import console

QUIET_SECONDS = 10.0
_LOOK_SECONDS = 0.5
# The phases of a switch and of a deployment, in words.
_PHASES = {
    "check": "checking the agent before the switch",
    "stop": "stopping the active agent",
    "free": "waiting for free GPU memory",
    "canary": "waiting for the canary's answer",
    "commit": "recording the switch",
    "place": "installing the plan's files",
    "rollback": "restoring the previous agent",
}


@contextmanager
def progress(report: Report | None = None, *, adds: bool = True) -> Iterator[Report]:
    """Yield a function that prints a sentence, and print the state of the switch when nothing was printed for 10 s.

    `report` prints; None prints on stderr, with the seconds since now. Without `adds` only the sentences are printed:
    a second process prints the state.
    """
    live = _Live(report or console.progress())
    if not adds:
        yield live.say
        return
    thread = threading.Thread(target=live.watch, daemon=True)
    thread.start()
    try:
        yield live.say
    finally:
        live.over.set()
        thread.join()


def doing() -> str | None:
    """Return the state of the running switch, such as `starting dev: loading vLLM, about 9 s left`; else None."""
    found = switch_journal.running()
    if found is None:
        return None
    phase = f"starting {found.to}" if found.phase == "start" else _PHASES.get(found.phase, found.phase)
    return f"{phase}: {found.note}" if found.note else phase


class _Live:
    """Prints what it is given, and knows when that was."""

    def __init__(self, report: Report) -> None:
        self.over = threading.Event()
        self._report, self._said = report, time.monotonic()

    def say(self, text: str) -> None:
        """Print a sentence."""
        self._said = time.monotonic()
        self._report(text)

    def watch(self) -> None:
        """Print the state of the switch whenever nothing was printed for QUIET_SECONDS."""
        while not self.over.wait(_LOOK_SECONDS):
            if time.monotonic() - self._said >= QUIET_SECONDS and (text := doing()):
                self.say(text)
