#!/usr/bin/env python3
"""Print the errors in Markdown: `docs/error_table.py errors | gateway | driver`.

errors: each code of the package with its meaning and remedy. gateway: the HTTP answers of the gateway, from its
templates. driver: the states of the driver.
"""

from __future__ import annotations

import re
import sys

import error_codes
import jinja2
import markdown_table
from jinja2 import nodes

from roundhouse.gateway import config
from roundhouse.host import driver
from roundhouse.paths import CHECKOUT as ROOT

TEMPLATES = sorted((ROOT / "roles/gateway/templates").glob("*.j2"))
MOST = 2  # texts of a code in the table
# The errors whose sentences are made while the program runs: meaning and remedy.
COMPUTED = {
    "canary_no_answer": ("An engine is ready and does not answer its canary.", "See `roundhouse logs AGENT`."),
    "command_renamed": ("The command has a new name; the text names it.", "Use the new name."),
    "does_not_fit": (
        "An agent of the roster does not fit the card; the text has the gap in GiB.",
        "Change the roster.",
    ),
    "interrupted": ("The command was interrupted.", "Run it again; after a switch, run `roundhouse status` first."),
    "manifest_invalid": ("A manifest of the store is damaged; the text names it.", "Run `roundhouse pull`."),
    "model_damaged": ("A file of a model differs from its checksum; the text names it.", "Run `roundhouse pull`."),
    "on_demand_setting_invalid": ("A setting of on-demand switching is invalid; the text names it.", ""),
    "requests_failed": ("Requests of `bench` failed; the text has the number and the first error.", ""),
    "resume_failed": ("`resume` failed for an agent; `fields.errors` has each error.", "See each error's remedy."),
    "rollback_failed": ("A transaction and its rollback failed; `fields.errors` has each error.", "See each remedy."),
    "start_failed": ("AGENT did not start; `fields.cause` has the cause.", "See [Causes](causes.md)."),
    "switch_running": ("Another switch is running; the text has its agent, process and phase.", "Add --wait."),
    "roster": ("A converted agent is invalid as a roster; the text names the setting.", "Change it in the file."),
}


def errors() -> str:
    """Return the table of codes."""
    rows = []
    for code, found in error_codes.all_errors().items():
        known = [each for each in found if error_codes.UNKNOWN not in each.text]
        texts = dict.fromkeys(each.text for each in known)
        remedies = dict.fromkeys(each.remedy for each in known if error_codes.UNKNOWN not in each.remedy)
        meaning, remedy = COMPUTED.get(code) or (_joined(texts), _joined(remedies))
        rows.append((f"`{code}`", meaning, remedy))
    return markdown_table.lines(("code", "meaning", "remedy"), rows)


def _joined(texts: dict[str, None]) -> str:
    return _fields(" / ".join(list(filter(None, texts))[:MOST])).replace("<", "&lt;")


def gateway() -> str:
    """Return the answers of the gateway: status, reason in the metrics, message."""
    found: dict[tuple[str, str], str] = {}
    for file in TEMPLATES:
        for why, status, message in answers(file.read_text()):
            found.setdefault((status, why), message)
    rows = [(status, f"`{why}`", _plain(message)) for (status, why), message in sorted(found.items())]
    rows += [("503", f"`{why}`", _plain(message)) for why, message in config.REFUSALS.items()]
    return markdown_table.lines(("status", "reason", "message"), rows)


def answers(template: str) -> list[tuple[str, str, str]]:
    """Return reason, status and message of each refusal in a template: when(condition, why, status, kind, message)."""
    tree = jinja2.Environment(autoescape=True).parse(template)
    constants = {each.target.name: each.node for each in tree.find_all(nodes.Assign)}
    calls = [each for each in tree.find_all(nodes.Call) if getattr(each.node, "attr", "") == "when"]
    return [(_value(each.args[1]), _value(each.args[2]), _value(each.args[4], constants)) for each in calls]


def _value(node: nodes.Node, constants: dict[str, nodes.Node] | None = None) -> str:
    """Return a constant, or a text with N for what the template fills in."""
    if isinstance(node, nodes.Const):
        return str(node.value)
    if isinstance(node, nodes.Concat):
        return "".join(_value(each) for each in node.nodes)
    if isinstance(node, nodes.Name) and constants and node.name in constants:
        return _value(constants[node.name])
    return "N"


def _plain(message: str) -> str:
    """Return a message with NAME for the agent and N for a value of the configuration."""
    return _fields(re.sub(r"@@\w+@@", "N", re.sub(r"%\[var\([\w.]+\)\]", "NAME", message)))


def driver_states() -> str:
    """Return the table of the driver's states."""
    rows = [(f"`{state}`", _fields(text), _fields(remedy)) for state, (text, remedy) in driver.STATES.items()]
    return markdown_table.lines(("state", "meaning", "remedy"), rows)


def _fields(text: str) -> str:
    """Return a text with its fields in capitals, as AGENT for {agent!r}."""
    return re.sub(r"\{(\w+)(?:\[\w+\])?(?:![rs])?(?::[^}]*)?\}", lambda found: found[1].upper(), text)


PARTS = {"errors": errors, "gateway": gateway, "driver": driver_states}

if __name__ == "__main__":
    print(PARTS[sys.argv[1]]())
