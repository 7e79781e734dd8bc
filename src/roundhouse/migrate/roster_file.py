"""Agents from several sources as one roster, each with a name and a port of its own, and written as YAML."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from typing import Any

from ..roster import fields
from . import report
from .agent import Made
from .report import Line

Agent = dict[str, Any]

_FIRST_PORT = 8000
_WIDTH = 110
# As the shipped roster has them; what it leaves out stands behind.
_ORDER = ("name", "description", "models", "port", "max_model_len", "max_model_len_min", "gpu_memory_utilization")
_FIELDS = (*_ORDER, *(field for field in fields.RULES if field not in _ORDER))
# What YAML takes for something else than a text.
_WORDS = re.compile(r"(?:true|false|yes|no|on|off|null|~|y|n)", re.IGNORECASE)
_PLAIN = re.compile(r"[A-Za-z/][\w./-]*")


def together(made: list[Made]) -> list[Made]:
    """Return the agents with a name and a port of their own each; who has to give way is told."""
    names: list[str] = []
    ports: list[int] = []
    found = []
    asked = {agent.get("port") for agent, _ in made}
    for agent, lines in made:
        own, told = dict(agent), list(lines)
        file = told[0].file if told else ""
        if own["name"] in names:
            own["name"] = _free_name(own["name"], names)
            why = "That name is another agent's. Files that belong together: `docker compose config > one.yml`."
            told.append(report.added(file, "name", own["name"], why))
        if own.get("port") in ports or not _allowed(own.get("port")):
            why = (
                "Nothing was said." if own.get("port") is None else f"{own['port']} is taken, or is none of an agent's."
            )
            own["port"] = next(port for port in range(_FIRST_PORT, 65536) if port not in [*ports, *asked])
            told.append(report.added(file, "port", own["port"], why))
        names.append(own["name"])
        ports.append(own["port"])
        found.append(Made({field: own[field] for field in _FIELDS if field in own}, told))
    return found


def lines_of(made: list[Made]) -> list[Line]:
    """Return the whole report."""
    return [line for _, lines in made for line in lines]


def yaml(agents: list[Agent], said: list[str]) -> str:
    """Return a roster as a file of variables; `said` are its comments."""
    comments = [f"# {line}" for each in said for line in textwrap.wrap(each, _WIDTH, break_long_words=False)]
    return "\n".join(["---", *comments, "agents:", *_agents(agents)]) + "\n"


def _agents(agents: list[Agent]) -> Iterator[str]:
    for index, agent in enumerate(agents):
        if index:
            yield ""
        for position, (field, value) in enumerate(agent.items()):
            before = "  - " if position == 0 else "    "
            if isinstance(value, list) and value and isinstance(value[0], dict):
                yield f"{before}{field}:"
                for entry in value:
                    for number, (name, held) in enumerate(entry.items()):
                        yield f"      {'- ' if number == 0 else '  '}{name}: {_scalar(held)}"
            elif isinstance(value, dict):
                yield f"{before}{field}:"
                yield from (f"      {name}: {_scalar(held)}" for name, held in value.items())
            else:
                yield f"{before}{field}: {_scalar(value)}"


def _scalar(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_scalar(each) for each in value)}]"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and not _WORDS.fullmatch(value):
        return value
    return json.dumps(value)  # a JSON scalar is one of YAML's too


def _free_name(name: str, taken: list[str]) -> str:
    return next(each for number in range(2, 99) if (each := f"{name[:29]}-{number}") not in taken)


def _allowed(port: Any) -> bool:
    return isinstance(port, int) and not list(fields.problems("port", "port", port))
