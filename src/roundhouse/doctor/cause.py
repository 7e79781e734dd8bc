"""Provide the row of doctor's table (pattern, text, remedy of a cause), and the error code at the end of a log line."""

from __future__ import annotations

import re
from typing import NamedTuple

from ..errors import RoundhouseError

PLAN_AGAIN = "ansible-playbook site.yml --extra-vars plan_again=true"
UNKNOWN = "unknown"  # the code of an end whose cause no row of the table matches
_CODE = re.compile(r" \[([a-z][a-z0-9_]+)\]$")


class Cause(NamedTuple):
    """A cause: codes of Roundhouse's own errors, a pattern for the logs of other programs, and texts.

    `{name}` in `remedy` is the agent.
    """

    code: str
    pattern: re.Pattern[str] | None
    errors: tuple[str, ...]
    text: str
    remedy: str

    def matches(self, line: str) -> bool:
        """Return whether a line of a log, or an error that ends with its code, shows this cause."""
        return code_of(line) in self.errors or (self.pattern is not None and self.pattern.search(line) is not None)


def row(code: str, pattern: str | None, text: str, remedy: str, errors: tuple[str, ...] = ()) -> Cause:
    """Return a row of the table."""
    return Cause(code, None if pattern is None else re.compile(pattern), errors, text, remedy)


def heading(code: str) -> str:
    """Return a cause's code as words, for a person."""
    return code.replace("_", " ")


def with_code(text: str, code: str | None) -> str:
    """Return a sentence that ends with its code, as in a log."""
    return f"{text} [{code}]" if code else text


def as_line(error: RoundhouseError) -> str:
    """Return an error as a line of a log."""
    return with_code(error.message, error.code)


def code_of(line: str) -> str | None:
    """Return the code at the end of a line, None without one."""
    found = _CODE.search(line)
    return found[1] if found else None
