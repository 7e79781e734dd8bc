"""A row of doctor's table: how a cause shows, what it is, what cures it. And the code behind a line of a log."""

from __future__ import annotations

import re
from typing import NamedTuple

from ..errors import RoundhouseError

PLAN_AGAIN = "ansible-playbook site.yml --extra-vars plan_again=true"
_CODE = re.compile(r" \[([a-z][a-z0-9_]+)\]$")


class Cause(NamedTuple):
    """A cause, by the codes of our own errors and by a pattern of other programs' words. `{name}` is the agent."""

    name: str
    pattern: re.Pattern[str] | None
    codes: tuple[str, ...]
    sentence: str
    cure: str

    def matches(self, line: str) -> bool:
        """Return whether a line of a log, or an error with its code behind it, shows this cause."""
        return code_of(line) in self.codes or (self.pattern is not None and self.pattern.search(line) is not None)


def row(name: str, pattern: str | None, sentence: str, cure: str, codes: tuple[str, ...] = ()) -> Cause:
    """Return a row of the table."""
    return Cause(
        name=name, pattern=None if pattern is None else re.compile(pattern), codes=codes, sentence=sentence, cure=cure
    )


def with_code(text: str, code: str | None) -> str:
    """Return a sentence with its code behind it, as a log keeps it."""
    return f"{text} [{code}]" if code else text


def as_line(error: RoundhouseError) -> str:
    """Return an error as a line of a log."""
    return with_code(error.message, error.code)


def code_of(line: str) -> str | None:
    """Return the code behind a line, None for none."""
    found = _CODE.search(line)
    return found[1] if found else None
