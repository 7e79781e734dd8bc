"""Agents of several sources as one roster, each with a name and a port of its own, and written as YAML."""

from __future__ import annotations

import json
import textwrap
from typing import Any

from ..roster import fields
from . import report
from .report import Imported, Line

_FIRST_PORT = 8000
_WIDTH = 110
# As the shipped roster has them; the other fields follow.
_ORDER = ("name", "description", "models", "port", "max_model_len", "max_model_len_min", "gpu_memory_utilization")
_FIELDS = tuple(dict.fromkeys((*_ORDER, *fields.RULES)))


def combine(imported: list[Imported]) -> tuple[list[dict[str, Any]], list[Line]]:
    """Return the agents with a name and a port of their own each, and the whole report, which has the changed ones."""
    names: list[str] = []
    ports: list[Any] = []
    wanted = {agent.get("port") for agent, _ in imported}
    agents, report_lines = [], []
    for agent, lines in imported:
        file = lines[0].file if lines else ""
        name, port, changes = agent["name"], agent.get("port"), []
        if name in names:
            name = next(each for number in range(2, 99) if (each := f"{name[:29]}-{number}") not in names)
            why = "That name is another agent's. Files that belong together: `docker compose config > one.yml`."
            changes.append(report.added(file, "name", name, why))
        if port in ports or [*fields.problems("port", "port", port)]:
            why = "Nothing was said." if port is None else f"{port} is taken, or is none of an agent's."
            port = next(each for each in range(_FIRST_PORT, 65536) if each not in [*ports, *wanted])
            changes.append(report.added(file, "port", port, why))
        names.append(name)
        ports.append(port)
        own = agent | {"name": name, "port": port}
        agents.append({field: own[field] for field in _FIELDS if field in own})
        report_lines += [*lines, *changes]
    return agents, report_lines


def yaml(agents: list[dict[str, Any]], comments: list[str]) -> str:
    """Return a roster as a file of variables, under comments."""
    rows = [row for each in comments for row in textwrap.wrap(each, _WIDTH, break_long_words=False)]
    return "\n".join(["---", *(f"# {row}" for row in rows), "agents:", *map(_entry, agents)]).rstrip() + "\n"


def _entry(agent: dict[str, Any]) -> str:
    """Return an agent as an item of a list, as JSON where the host has no PyYAML: JSON is YAML."""
    try:
        import yaml as library  # noqa: PLC0415 - hosts may have none
    except ModuleNotFoundError:
        return f"  - {json.dumps(agent)}\n"

    class Dumper(library.SafeDumper):
        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
            super().increase_indent(flow, indentless=False)  # as yamllint wants it

    text = library.dump([agent], Dumper=Dumper, sort_keys=False, default_flow_style=False, width=1000)
    return textwrap.indent(text, "  ")
