"""A switch of several hosts as a table: what each host's command answered, and who was not tried."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from . import output

COLUMNS = ("host", "outcome", "agent", "seconds", "cut", "why")


def text(hosts: Mapping[str, Any], names: Iterable[str]) -> str:
    """Return the table; a host's variables hold the command's result as `switched` once it was tried."""
    return output.table(COLUMNS, [_row(name, hosts[name].get("switched")) for name in names])


def _row(name: str, switched: Mapping[str, Any] | None) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(COLUMNS) | {"host": name, "outcome": "not tried"}
    if switched is None:
        return row
    try:
        answer = json.loads(switched["stdout"])
    except (KeyError, ValueError):  # no command there, or it was ended
        return row | {"outcome": "failed", "why": switched.get("msg") or switched.get("stderr") or "no answer"}
    if not answer["ok"]:
        return row | {"outcome": "failed", "why": " ".join(each["message"] for each in answer["errors"])}
    outcome = "switched" if answer["changed"] else "served already"
    seconds = round(sum(answer["stages"].values()), 1)
    return row | {"outcome": outcome, "agent": answer["agent"], "seconds": seconds, "cut": answer["cut"]}
