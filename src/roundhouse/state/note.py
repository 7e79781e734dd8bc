"""How far a phase of a switch is, as its steps report it. Apart, because Ansible ships it with modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

Report = Callable[[str], None]  # tells a person a sentence


class Note(NamedTuple):
    """How far a phase is, in a sentence and in fields."""

    text: str
    step: str = ""  # the part of the phase: a start's own phase, a card
    percent: int | None = None


OnNote = Callable[[Note], None]
