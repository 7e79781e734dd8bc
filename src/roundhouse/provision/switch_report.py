"""Report a switch of several hosts as a table: the outcome on each host, and the hosts that were not tried.

Each host has a row and, if it failed, a reason: unreachable, the command is missing, or it gave no answer. The playbook
reads the same rows and computes nothing itself.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

from ..util import console

COLUMNS = ("host", "outcome", "agent", "seconds", "cut", "why")
Task = Mapping[str, Any]  # Ansible's result of a host's task

SWITCHED, SERVED, FAILED = "switched", "served already", "failed"
UNREACHABLE, NOT_TRIED = "unreachable", "not tried"
_GOOD = (SWITCHED, SERVED)
# Ansible's message for a program that it cannot run; `rc` is then the system's error number.
_CANNOT_RUN = "Error executing command."
# The output of ssh and tracebacks are cut to this length, to fit the table.
_WHY_CHARACTERS = 300


class Row(TypedDict):
    """The row of one host, with the keys of COLUMNS; None means unknown."""

    host: str
    outcome: str
    agent: str | None
    seconds: float | None  # of all stages
    cut: int | None  # requests
    why: str | None  # a sentence


def text(hosts: Mapping[str, Mapping[str, Task]], names: Iterable[str]) -> str:
    """Return the table; the variables of a host that was tried contain the task's result as `__switch_result`."""
    return console.table(COLUMNS, rows(hosts, names))


def rows(hosts: Mapping[str, Mapping[str, Task]], names: Iterable[str]) -> list[Row]:
    """Return a row for each host."""
    return [row(name, hosts[name].get("__switch_result")) for name in names]


def row(name: str, switched: Task | None) -> Row:
    """Return the row of one host."""
    made: Row = {"host": name, "outcome": NOT_TRIED, "agent": None, "seconds": None, "cut": None, "why": None}
    if switched is None:
        return made
    if switched.get("unreachable"):
        return {**made, "outcome": UNREACHABLE, "why": _line(switched.get("msg")) or "no connection"}
    answer = _answer(switched)
    if answer is None:
        return {**made, "outcome": FAILED, "why": _without_an_answer(switched)}
    if not answer["ok"]:
        why = " ".join(str(each.get("message")) for each in answer.get("errors") or [])
        return {**made, "outcome": FAILED, "why": _line(why) or "the command gave no reason"}
    seconds = round(sum((answer.get("stages") or {}).values()), 1)
    outcome = SWITCHED if answer.get("changed") else SERVED
    return {**made, "outcome": outcome, "agent": answer.get("agent"), "seconds": seconds, "cut": answer.get("cut")}


def changed(switched: Task) -> bool:
    """Return true if the host's active agent has changed."""
    return row("", switched)["outcome"] == SWITCHED


def problem(switched: Task | None) -> str:
    """Return why a host's switch failed, empty if it succeeded."""
    found = row("", switched)
    if found["outcome"] in _GOOD:
        return ""
    why = found["why"] or "it was not tried"
    return f"unreachable: {why}" if found["outcome"] == UNREACHABLE else why


def _answer(switched: Task) -> dict[str, Any] | None:
    """Return the JSON object that the command printed, None if it printed none."""
    try:
        answer = json.loads(switched.get("stdout") or "")
    except ValueError:
        return None
    return answer if isinstance(answer, dict) and "ok" in answer else None


def _without_an_answer(switched: Task) -> str:
    status = switched.get("rc")
    if switched.get("msg") == _CANNOT_RUN:
        if status == errno.ENOENT:
            return "the roundhouse command is not installed: deploy first with ansible-playbook site.yml"
        return f"the roundhouse command cannot be run: {os.strerror(status or 0)}"
    output = _line(switched.get("stderr") or switched.get("msg") or switched.get("stdout"))
    ended = "" if status is None else f" (exit status {status})"
    return f"{output or 'the command gave no answer'}{ended}"


def _line(text: object) -> str:
    words = " ".join(str(text or "").split()).removeprefix("Task failed: ")  # Ansible's prefix
    return words if len(words) <= _WHY_CHARACTERS else f"{words[:_WHY_CHARACTERS]} ..."
