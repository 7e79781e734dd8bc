"""Read files of KEY=VALUE with python-dotenv, and replace variables in a compose file.

`docker compose config` is not used, because it needs Docker on the controller and loses the report's line numbers.
"""

from __future__ import annotations

import io
import re
import string
from collections.abc import Mapping
from pathlib import Path

from ..errors import UsageError
from . import shown
from .report import Setting

# An old set-up has a few KiB. PyYAML reads about 100 KiB a second.
_LONGEST_BYTES = 128 * 1024


def missing(library: str) -> UsageError:
    """Return the error for a missing library that only the controller has."""
    text = "Python has no {library}, which is needed to read compose and env files."
    remedy = "Run pip install 'roundhouse[import]', or import on the controller (`make setup` installs it)."
    return UsageError("library_missing", text, remedy, library=library)


def text(path: Path) -> str:
    """Return the text of an old file. Raises UsageError for one above the limit, OSError and UnicodeDecodeError."""
    with path.open("rb") as file:
        content = file.read(_LONGEST_BYTES + 1)
    if len(content) > _LONGEST_BYTES:
        what, remedy = "{path} is longer than {limit} bytes.", "Name a compose file, an env file or a Modelfile."
        raise UsageError("import_file_too_long", what, remedy, path=str(path), limit=_LONGEST_BYTES)
    return content.decode().replace("\r\n", "\n")


def read(path: Path) -> tuple[list[Setting], list[Setting]]:
    """Return a file's assignments, and its other lines. Raises UsageError."""
    try:
        from dotenv.parser import parse_stream  # noqa: PLC0415 - only the controller has it
    except ModuleNotFoundError:
        raise missing("python-dotenv") from None
    assignments, others = [], []
    with io.StringIO(text(path)) as file:
        for key, value, original, error in parse_stream(file):
            line = original.string.strip()
            number = original.line + original.string[: original.string.find(line)].count("\n")
            if key and key.isidentifier() and value is not None:
                assignments.append(Setting(number, "env", key, value, shown.assignment("env", key, value)))
            elif key or error:
                others.append(Setting(number, "key", "line", "", shown.HIDDEN))
    return assignments, others


def beside(compose: Path) -> dict[str, str]:
    """Return the variables of the .env file beside a compose file; Compose replaces them in that file."""
    path = compose.parent / ".env"
    return {each.name: each.value for each in read(path)[0]} if path.is_file() else {}


class _Template(string.Template):
    braceidpattern = r"[A-Za-z_]\w*(?::?[-?+][^}]*)?"  # python-dotenv supports only ${NAME:-default}


class _Variables(dict[str, str]):
    """Evaluate expressions such as NAME:-default; an unset variable is empty, as in Compose."""

    def __missing__(self, expression: str) -> str:
        name, operator, other = re.findall(r"(\w+)(:?[-?+]?)(.*)", expression, re.DOTALL)[0]
        value = self.get(name)
        is_set = bool(value) if operator.startswith(":") else value is not None
        if operator.endswith("+"):
            return str(other) if is_set else ""
        return value or "" if is_set else str(other) if operator.endswith("-") else ""


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """Return a Compose string with its variables replaced. Shell variables of the old host are unknown."""
    return _Template(text).safe_substitute(_Variables(variables))
