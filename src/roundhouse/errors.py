"""Errors are codes with fields; the text for a person is made where it is printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class RoundhouseError(Exception):
    """Something was not done.

    `code` says what failed, in snake_case; programs, the doctor and tests match it, and it outlives rewording. `fields`
    are the values that belong to it. `text` says what failed and `remedy` what to do; both may name the fields, as in
    "Port {port} is used by {holder}.".
    """

    exit_code = 1

    def __init__(self, code: str, text: str, remedy: str = "", **fields: object) -> None:
        super().__init__(code)
        self.code, self.fields = code, fields
        self.text, self.remedy = (part.format(**fields) if fields else part for part in (text, remedy))

    @property
    def message(self) -> str:
        """Return the sentences for a person: what failed, and the remedy."""
        return f"{self.text} {self.remedy}".rstrip()

    def __str__(self) -> str:
        return self.message

    def as_json(self) -> dict[str, Any]:
        """Return the error for a program."""
        return {
            "code": self.code,
            "message": self.message,
            "text": self.text,
            "remedy": self.remedy,
            "fields": self.fields,
        }

    def as_result(self) -> dict[str, Any]:
        """Return the error as the result of an Ansible task."""
        return {"failed": True, "msg": self.message, "code": self.code, "remedy": self.remedy, "fields": self.fields}

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> RoundhouseError:
        """Return the error that another process told by `as_json`."""
        error = cls(told["code"], told["text"], told["remedy"])
        error.fields = told["fields"]
        return error


class UsageError(RoundhouseError):
    """What was asked, or the plan it is asked of, is not valid: nothing was touched."""

    exit_code = 2


def unreadable(code: str, path: Path, error: Exception, remedy: str) -> RoundhouseError:
    """Return the error of a file that cannot be read."""
    return RoundhouseError(code, "{path} cannot be read ({reason}).", remedy, path=str(path), reason=str(error))


def interrupted() -> RoundhouseError:
    """Return the error of work that its caller stopped."""
    return RoundhouseError("interrupted", "Interrupted.")
