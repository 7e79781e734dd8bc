#!/usr/bin/env python3
"""Print the settings of the roles or of the roster in Markdown: `docs/settings_table.py roles | roster | host`.

roles: a table for each role, from roles/*/meta/argument_specs.yml. roster: the settings of an agent, from the
specification of roles/preflight. host: group_vars/all/host.yml as it is.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

import markdown_table
import yaml

from roundhouse.paths import CHECKOUT as ROOT

ROLES = sorted(file.parents[1].name for file in (ROOT / "roles").glob("*/meta/argument_specs.yml"))
HOST = ROOT / "group_vars/all/host.yml"


def specification(role: str) -> dict[str, Any]:
    """Return the specification of a role's main entry point."""
    text = (ROOT / "roles" / role / "meta/argument_specs.yml").read_text()
    return dict(yaml.safe_load(text)["argument_specs"]["main"])


def settings(role: str) -> dict[str, dict[str, Any]]:
    """Return the options of a role without the roster, which has its own table."""
    return {name: option for name, option in specification(role).get("options", {}).items() if name != "agents"}


def roles() -> str:
    """Return a section for each role."""
    set_on_host = yaml.safe_load(HOST.read_text())
    parts = []
    for role in ROLES:
        rows = [
            (f"`{name}`", _type(option), _default(name, option, set_on_host), _meaning(option))
            for name, option in settings(role).items()
        ]
        table = markdown_table.lines(("setting", "type", "default", "meaning"), rows)
        parts.append(f"## {role}\n\n{specification(role)['short_description']}.\n\n{table}")
    return "\n\n".join(parts)


def roster() -> str:
    """Return the table of an agent's settings."""
    rows = [
        (f"`{path}`", _type(option), "yes" if option.get("required") else "", _meaning(option))
        for path, option in agent_settings(specification("preflight")["options"]["agents"]["options"])
    ]
    return markdown_table.lines(("setting", "type", "required", "meaning"), rows)


def agent_settings(options: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each setting of an agent with its path, such as models[].quantize."""
    for name, option in options.items():
        yield path + name, option
        inner = f"{path}{name}[]." if option["type"] == "list" else f"{path}{name}."
        yield from agent_settings(option.get("options", {}), inner)


def host() -> str:
    """Return the file of the host's settings as a block of code."""
    return f"```yaml\n{HOST.read_text().rstrip()}\n```"


def _type(option: dict[str, Any]) -> str:
    return f"list of {option['elements']}" if option["type"] == "list" else str(option["type"])


def _default(name: str, option: dict[str, Any], set_on_host: dict[str, Any]) -> str:
    if name in set_on_host:
        return "in host.yml"
    if option.get("required"):
        return "set by the playbook"
    value = option.get("default")
    return "empty" if value in ("", None, [], {}) else f"`{str(value).lower() if value in (True, False) else value}`"


def _meaning(option: dict[str, Any]) -> str:
    text = option["description"]
    text = text if isinstance(text, str) else " ".join(text)
    choices = f" One of {', '.join(f'`{choice}`' for choice in option['choices'])}." if "choices" in option else ""
    return re.sub(r"C\(([^)]+)\)", r"`\1`", text) + choices


PARTS = {"roles": roles, "roster": roster, "host": host}

if __name__ == "__main__":
    print(PARTS[sys.argv[1]]())
