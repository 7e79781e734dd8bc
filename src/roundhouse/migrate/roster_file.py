"""Combine the agents of several sources into one roster with unique names and ports, and format it as YAML."""

from __future__ import annotations

import json
import textwrap
from typing import Any

from ..roster import fields
from . import report
from .report import Imported, Line

_FIRST_PORT = 8000
_WIDTH = 110
# The order of the shipped roster; the other fields follow.
_ORDER = ("name", "description", "models", "port", "max_model_len", "max_model_len_min", "gpu_memory_utilization")
_FIELDS = tuple(dict.fromkeys((*_ORDER, *fields.RULES)))


def combine(imported: list[Imported]) -> tuple[list[dict[str, Any]], list[Line]]:
    """Return the agents with unique names and ports, and the whole report, including the changed names and ports."""
    names: list[str] = []
    ports: list[Any] = []
    wanted = {agent.get("port") for agent, _ in imported}
    agents, report_lines = [], []
    for agent, lines in imported:
        file = lines[0].file if lines else ""
        name, port, changes = agent["name"], agent.get("port"), []
        if name in names:
            name = next(each for number in range(2, 99) if (each := f"{name[:29]}-{number}") not in names)
            why = "Another agent has that name. To merge files of one setup run `docker compose config > one.yml`."
            changes.append(report.added(file, "name", name, why))
        if port in ports or [*fields.problems("port", "port", port)]:
            why = "Not set." if port is None else f"Port {port} is in use or invalid."
            port = next(each for each in range(_FIRST_PORT, 65536) if each not in [*ports, *wanted])
            changes.append(report.added(file, "port", port, why))
        names.append(name)
        ports.append(port)
        own = agent | {"name": name, "port": port}
        agents.append({field: own[field] for field in _FIELDS if field in own})
        report_lines += [*lines, *changes]
    return agents, report_lines


def yaml(agents: list[dict[str, Any]], comments: list[str]) -> str:
    """Return a roster as a YAML file of variables that begins with the comments."""
    rows = [row for each in comments for row in textwrap.wrap(each, _WIDTH, break_long_words=False)]
    return "\n".join(["---", *(f"# {row}" for row in rows), "agents:", *map(_entry, agents)]).rstrip() + "\n"


def _entry(agent: dict[str, Any]) -> str:
    """Return an agent as an item of a YAML list. Without PyYAML it is written as JSON, which is valid YAML."""
    try:
        import yaml as library  # noqa: PLC0415 - hosts may lack it
    except ModuleNotFoundError:
        return f"  - {json.dumps(agent)}\n"

    class Dumper(library.SafeDumper):
        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
            super().increase_indent(flow, indentless=False)  # yamllint requires indented lists

    text = library.dump([agent], Dumper=Dumper, sort_keys=False, default_flow_style=False, width=1000)
    return textwrap.indent(text, "  ")
