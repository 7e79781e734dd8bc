"""Files of KEY=VALUE, and the variables that Compose replaces in its own file. python-dotenv reads the files.

`docker compose config` is no substitute: it needs Docker on the controller and drops the line numbers of the report.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from pathlib import Path

from ..errors import UsageError
from .report import Setting, assignment


def missing(library: str) -> UsageError:
    """Return the error of a library that only the controller has."""
    text = "Python has no {library}, which reads compose and env files."
    remedy = "Run pip install 'roundhouse[import]', or import on the controller (make setup has it)."
    return UsageError("library_missing", text, remedy, library=library)


def read(path: Path) -> tuple[list[Setting], list[Setting]]:
    """Return a file's assignments, and the lines that are none."""
    try:
        from dotenv.parser import parse_stream  # noqa: PLC0415 - on the controller alone
    except ModuleNotFoundError:
        raise missing("python-dotenv") from None
    assignments, others = [], []
    with path.open(encoding="utf-8") as file:
        for key, value, original, error in parse_stream(file):
            said = original.string.strip()
            number = original.line + original.string[: original.string.find(said)].count("\n")
            if key and key.isidentifier() and value is not None:
                assignments.append(Setting(number, "env", key, value, assignment(key, value)))
            elif key or error:
                others.append(Setting(number, "key", "line", "", said))
    return assignments, others


def beside(compose: Path) -> dict[str, str]:
    """Return the variables of the .env beside a compose file, which Compose replaces in it."""
    path = compose.parent / ".env"
    return {each.name: each.value for each in read(path)[0]} if path.is_file() else {}


class _Template(string.Template):
    braceidpattern = r"[A-Za-z_]\w*(?::?[-?+][^}]*)?"  # python-dotenv has ${NAME:-default} alone


class _Variables(dict[str, str]):
    """The values of expressions such as NAME:-default; a variable that is not set is empty, as for Compose."""

    def __missing__(self, expression: str) -> str:
        name, operator, other = re.findall(r"(\w+)(:?[-?+]?)(.*)", expression, re.DOTALL)[0]
        value = self.get(name)
        is_set = bool(value) if operator.startswith(":") else value is not None
        if operator.endswith("+"):
            return str(other) if is_set else ""
        return value or "" if is_set else str(other) if operator.endswith("-") else ""


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """Return a text of Compose with its variables replaced, but for the shell's: the old host's are not here."""
    return _Template(text).safe_substitute(_Variables(variables))
