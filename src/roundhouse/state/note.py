"""Provide the progress note of a phase. A module of its own, because Ansible ships it with modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

Report = Callable[[str], None]  # shows a sentence to a person


class Note(NamedTuple):
    """The progress of a phase, as a sentence and as fields."""

    text: str
    step: str = ""  # the part of the phase: a start's own phase, a card
    percent: int | None = None


OnNote = Callable[[Note], None]
