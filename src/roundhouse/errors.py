"""Provide the package's errors: a code with fields for programs, a text and a remedy for a person."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class RoundhouseError(Exception):
    """Report a failure to a person and to programs.

    `code` names the failure in snake_case. Programs, the doctor and tests match it, so it stays the same when the text
    is reworded. `fields` are the values of the failure. `text` states what failed and `remedy` what to do; both are
    format strings over the fields, as in "Port {port} is used by {holder}.".
    """

    exit_code = 1

    def __init__(self, code: str, text: str, remedy: str = "", **fields: object) -> None:
        super().__init__(code)
        self.code, self.fields = code, fields
        self.text, self.remedy = (part.format(**fields) if fields else part for part in (text, remedy))

    @property
    def message(self) -> str:
        """Return the text and the remedy as one string."""
        return f"{self.text} {self.remedy}".rstrip()

    def __str__(self) -> str:
        return self.message

    def as_json(self) -> dict[str, Any]:
        """Return the error as a JSON object for a program."""
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
    def from_json(cls, content: dict[str, Any]) -> RoundhouseError:
        """Return the error that another process wrote with `as_json`."""
        error = cls(content["code"], content["text"], content["remedy"])
        error.fields = content["fields"]
        return error


class UsageError(RoundhouseError):
    """Report an invalid request, setting or plan. Nothing was changed."""

    exit_code = 2


def unreadable(code: str, path: Path, error: Exception, remedy: str) -> RoundhouseError:
    """Return the error for a file that cannot be read."""
    return RoundhouseError(code, "{path} cannot be read ({reason}).", remedy, path=str(path), reason=str(error))


def interrupted() -> RoundhouseError:
    """Return the error for work that its caller stopped."""
    return RoundhouseError("interrupted", "Interrupted.")
