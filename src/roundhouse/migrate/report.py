"""What `import` reads and what it says: entries of a source, each with its line, and what became of each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

BECAME = "became"  # the roster says the same
NEAREST = "nearest"  # the roster says what comes closest
ALREADY = "so anyway"  # nothing has to be written for it
NOTHING = "no meaning"  # neither vLLM nor the roster knows such a thing
LEFT = "not taken"  # it means something, and has no place in a roster
ADDED = "added"  # the source does not say it, and an agent needs it
_MARKS = {BECAME: "->", NEAREST: "~>", ADDED: "+>", ALREADY: "==", NOTHING: "--", LEFT: "--"}

_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|(?<![A-Z])KEY|API-KEY", re.IGNORECASE)
_COUNTS = re.compile(r"TOKENS|TOKENIZER", re.IGNORECASE)


class Entry(NamedTuple):
    """One thing that a source says. `kind` is env, flag or key (of compose); `value` None is a bare flag."""

    number: int
    kind: str
    name: str
    value: str | None
    text: str


class Source(NamedTuple):
    """One service or file that is to be an agent. `names` are the words that may name it, the best first."""

    file: str
    number: int
    names: tuple[str, ...]
    entries: tuple[Entry, ...]


class Line(NamedTuple):
    """What became of one line. `vllm` are vLLM's own words for it."""

    file: str
    number: int | None
    text: str
    fate: str
    became: str
    vllm: str
    why: str


class Said(NamedTuple):
    """What an entry means: `fields` are the agent's, by their names in the roster."""

    fate: str
    why: str
    fields: Mapping[str, Any] = {}
    vllm: str = ""


def is_secret(name: str) -> bool:
    """Return whether a value is not to be shown, by its variable's or option's name."""
    return bool(_SECRET.search(name)) and not _COUNTS.search(name)


def shown(name: str, value: str | None, joint: str = "=") -> str:
    """Return an assignment for a report, a secret's value left out."""
    if value is None:
        return name
    return f"{name}{joint}{'...' if is_secret(name) and value else value}"


def line(source: str, entry: Entry, said: Said) -> Line:
    """Return the report of one entry."""
    became = ", ".join(f"{name}: {_plain(value)}" for name, value in said.fields.items())
    return Line(source, entry.number, entry.text, said.fate, became, said.vllm, said.why)


def added(source: str, field: str, value: Any, why: str) -> Line:
    """Return the report of a setting that the source does not have."""
    return Line(source, None, field, ADDED, f"{field}: {_plain(value)}", "", why)


def text(lines: Iterable[Line]) -> str:
    """Return the report for a person: the line, what it became, and why."""
    shown_lines = []
    for each in lines:
        at = each.file if each.number is None else f"{each.file}:{each.number}"
        own = f" (vLLM: {each.vllm})" if each.vllm else ""
        became = f"{each.became}{own}. " if each.became else f"{each.fate}: "
        shown_lines += [f"{at}  {each.text}", f"    {_MARKS[each.fate]} {became}{each.why}"]
    return "\n".join(shown_lines)


def summary(lines: Iterable[Line]) -> str:
    """Return how many lines had which fate."""
    fates = [each.fate for each in lines]
    return ", ".join(f"{fates.count(fate)} {fate}" for fate in _MARKS if fate in fates)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(_plain(each) for each in value)}]"
    if isinstance(value, dict):
        if "model" in value and "method" not in value:
            return str(value["model"])
        return f"{{{', '.join(f'{name}: {_plain(each)}' for name, each in value.items())}}}"
    return str(value)
