"""A switch that runs now, as those see it who look on: where to, since when, its phase, and how far that is."""

from __future__ import annotations

import json
import re
import time
from typing import NamedTuple

from . import journal, state

_PERCENT = re.compile(r"(\d+) %")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_TIME_LEFT = re.compile(r", about \d+ s left")


class Switching(NamedTuple):
    """What stands in the journal of a switch that runs."""

    to: str
    began: float  # seconds since the epoch
    phase: str
    note: str

    def text(self, now: float | None = None) -> str:
        """Return it in one line: `switching to dev since 12 s, start: loading weights 42 %, about 12 s left`."""
        seconds = (time.time() if now is None else now) - self.began
        told = f": {self.note}" if self.note else ""
        return f"switching to {self.to} since {seconds:.0f} s, {self.phase}{told}"

    def stands(self) -> tuple[str, ...]:
        """Return what stays while nothing of interest changes: no seconds, no counts, percents in steps of ten."""
        note = _TIME_LEFT.sub("", self.note)
        tens = [str(int(each) // 10) for each in _PERCENT.findall(note)]
        return (self.to, self.phase, _NUMBER.sub("#", note), *tens)


def now() -> Switching | None:
    """Return the switch that runs, None when there is none, or when it has only begun to look."""
    if not state.is_switching():
        return None
    try:
        told = json.loads(journal.path().read_text())
        return Switching(told["to"], float(told["began"]), told["phase"], told["note"])
    except (OSError, ValueError, KeyError, TypeError):  # it ends or begins at this moment
        return None
