"""Provide the progress note of a phase. A module of its own, because Ansible ships it with modules."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

Report = Callable[[str], None]  # shows a sentence to a person


class Note(NamedTuple):
    """The progress of a phase, as a sentence and as fields."""

    text: str
    step: str = ""  # the part of the phase: a start's own phase, a card
    percent: int | None = None


OnNote = Callable[[Note], None]


def now_and_then(report: Report, every_seconds: float = 10.0) -> OnNote:
    """Return a function that reports a note's text, at most once in so many seconds, and not at the begin."""
    reported = time.monotonic()

    def note(found: Note) -> None:
        nonlocal reported
        if time.monotonic() - reported >= every_seconds:
            reported = time.monotonic()
            report(found.text)

    return note
