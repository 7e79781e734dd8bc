"""Combine the agents of several sources into one roster with unique names and ports, and format it as YAML."""

from __future__ import annotations

import itertools
import json
import re
import textwrap
from collections.abc import Iterator
from typing import Any

from ..errors import RoundhouseError
from ..roster import fields
from ..util import console
from . import report
from .report import Imported, Line

_FIRST_PORT = 8000
_WIDTH = 110
_TEMPLATE = re.compile(r"{[{%#]")
# The order of the shipped roster; the other fields follow.
_ORDER = ("name", "description", "models", "port", "max_model_len", "max_model_len_min", "gpu_memory_utilization")
_FIELDS = tuple(dict.fromkeys((*_ORDER, *fields.RULES)))


def combine(imported: list[Imported]) -> tuple[list[dict[str, Any]], list[Line]]:
    """Return the agents with unique names and ports, and the whole report, including the changed names and ports."""
    names: set[str] = set()
    ports: set[Any] = set()
    wanted = {agent.get("port") for agent, _ in imported}
    agents, report_lines = [], []
    for agent, lines in imported:
        file = lines[0].file if lines else ""
        name, port, changes = agent["name"], agent.get("port"), []
        if name in names:
            name = next(each for n in itertools.count(2) if (each := _numbered(name, n)) not in names)
            why = "Another agent has that name. To merge files of one setup run `docker compose config > one.yml`."
            changes.append(report.added(file, "name", name, why))
        if port in ports or [*fields.problems("port", "port", port)]:
            why = "Not set." if port is None else f"Port {port} is in use or invalid."
            port = next(each for each in range(_FIRST_PORT, 65536) if each not in ports | wanted)
            changes.append(report.added(file, "port", port, why))
        names.add(name)
        ports.add(port)
        own = agent | {"name": name, "port": port}
        agents.append({field: own[field] for field in _FIELDS if field in own})
        report_lines += [*lines, *changes]
    return agents, report_lines


def yaml(agents: list[dict[str, Any]], comments: list[str]) -> str:
    """Return a roster as a YAML file of variables that begins with the comments.

    Raises RoundhouseError for a string that Ansible would evaluate: a template runs commands on the controller.
    """
    if template := next(filter(_TEMPLATE.search, _strings(agents)), None):
        text, remedy = "{value!r} contains a template of Jinja.", "Remove it from the old set-up."
        raise RoundhouseError("roster_template", text, remedy, value=template)
    said = (console.printable(each) for each in comments)
    rows = [row for each in said for row in textwrap.wrap(each, _WIDTH, break_long_words=False)]
    return "\n".join(["---", *(f"# {row}" for row in rows), "agents:", *map(_entry, agents)]).rstrip() + "\n"


def of_host(agents: object) -> list[dict[str, Any]]:
    """Return the agents that another host imported, with the roster's fields alone. Raises RoundhouseError."""
    if not isinstance(agents, list) or not all(isinstance(agent, dict) for agent in agents):
        raise RoundhouseError("host_roster_invalid", "The host returned no list of agents.", "Update its Roundhouse.")
    found = [{field: agent[field] for field in _FIELDS if field in agent} for agent in agents]
    for agent in found:
        for field, value in agent.items():
            for problem in fields.problems(field, field, value):
                raise RoundhouseError("host_roster_invalid", "{problem}", "Update its Roundhouse.", problem=problem)
    return found


def _numbered(name: str, number: int) -> str:
    """Return the name with a number at its end, at most as long as a name may be."""
    return f"{name[: fields.LONGEST_NAME - len(f'-{number}')].rstrip('-')}-{number}"


def _strings(value: object) -> Iterator[str]:
    """Yield the strings of a value, with the keys of mappings."""
    if isinstance(value, str):
        yield value
    parts = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    for part in parts:
        yield from _strings(part)


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
