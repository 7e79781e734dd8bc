#!/usr/bin/env python3
"""Print Roundhouse's own metrics as a Markdown table: name, type, labels and meaning.

Names and types are read from their sources: roles/gateway/files/hold.lua, and the names in state/switch_metrics.py. The
meanings are here, and a test compares the two.
"""

from __future__ import annotations

import re

import markdown_table

from roundhouse.paths import CHECKOUT as ROOT
from roundhouse.paths import PACKAGE

LUA = ROOT / "roles/gateway/files/hold.lua"
SWITCHES = PACKAGE / "state/switch_metrics.py"

# name: (labels, meaning)
MEANINGS = {
    "roundhouse_gateway_waiting": ("agent", "requests that the gateway holds for an agent now"),
    "roundhouse_gateway_waiting_oldest_seconds": ("agent", "seconds that the oldest held request has waited"),
    "roundhouse_gateway_held_total": ("agent", "requests that were held, since the gateway started"),
    "roundhouse_gateway_held_seconds_total": ("agent", "seconds that requests were held, in total"),
    "roundhouse_gateway_refused_total": ("agent, why", "requests that the gateway refused, by reason"),
    "roundhouse_switch_phase_seconds": (
        "from, to, phase, outcome",
        "seconds of each phase of a switch; the phase `all` is the sum",
    ),
}


def found() -> dict[str, str]:
    """Return the type of each metric by its name, as the sources have it."""
    text = LUA.read_text()
    kinds = re.findall(r'(?:of_each_agent|kind)\("(\w+)", "(gauge|counter|histogram)"', text)
    metrics = {f"roundhouse_gateway_{name}": kind for name, kind in kinds}
    written = SWITCHES.read_text()
    heads = re.findall(r"# TYPE \{(\w+)\} (\w+)", written)
    names = dict(re.findall(r'^(\w+) = "(roundhouse_\w+)"', written, re.MULTILINE))
    return metrics | {names[constant]: kind for constant, kind in heads}


def main() -> None:
    """Print the table."""
    rows = [(f"`{name}`", kind, MEANINGS[name][0], MEANINGS[name][1]) for name, kind in found().items()]
    print(markdown_table.lines(("name", "type", "labels", "meaning"), rows))


if __name__ == "__main__":
    main()
