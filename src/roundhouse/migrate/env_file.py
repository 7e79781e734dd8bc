"""Variables of old set-ups: a file of KEY=VALUE, and what compose puts in the place of ${NAME}."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from .report import Entry, shown

_ASSIGNMENT = re.compile(r"(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?P<value>.*)")
_VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|(?P<bare>[A-Za-z_]\w*)|\{(?P<name>[A-Za-z_]\w*)(?:(?P<how>:?[-?+])(?P<other>[^}]*))?\})"
)


def read(path: Path) -> tuple[list[Entry], list[Entry]]:
    """Return a file's assignments, and the lines that are none."""
    found, strange = [], []
    for number, raw in enumerate(path.read_text().splitlines(), start=1):
        said = raw.strip()
        if not said or said.startswith("#"):
            continue
        match = _ASSIGNMENT.fullmatch(said)
        if match:
            name, value = match["name"], unquoted(match["value"])
            found.append(Entry(number, "env", name, value, shown(name, value)))
        else:
            strange.append(Entry(number, "key", "line", None, said))
    return found, strange


def unquoted(value: str) -> str:
    """Return a value without its quotes; without them a comment ends it."""
    if value[:1] in ("'", '"') and (end := value.find(value[0], 1)) > 0:
        return value[1:end]
    return re.sub(r"\s+#.*", "", value).strip()


def beside(compose: Path) -> dict[str, str]:
    """Return what the .env beside a compose file sets, which is where compose takes its variables from."""
    path = compose.parent / ".env"
    return {entry.name: entry.value or "" for entry in read(path)[0]} if path.is_file() else {}


def put_in(value: str, known: Mapping[str, str]) -> str:
    """Return a text of compose with its variables put in; one that is set nowhere is empty, as for compose.

    The shell's own variables are not asked: those of the old host are not here.
    """

    def one(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        name, how, other = match["bare"] or match["name"], match["how"] or "", match["other"] or ""
        is_set = name in known and (bool(known[name]) or not how.startswith(":"))
        if how.endswith("+"):
            return other if is_set else ""
        return known[name] if is_set else other if how.endswith("-") else ""

    return _VARIABLE.sub(one, value)
