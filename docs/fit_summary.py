#!/usr/bin/env python3
"""Print what the shipped roster gets on common cards, a row for each card, as a Markdown table."""

from __future__ import annotations

from typing import Any

import markdown_table
import planned_cards


def main() -> None:
    """Print the table; the columns are the agents of the roster."""
    found = planned_cards.planned()
    names = [agent["name"] for agent in found[0].agents]
    rows = [(card, *map(_cell, agents)) for card, agents in found]
    print(markdown_table.lines(("card", *names), rows))


def _cell(agent: dict[str, Any]) -> str:
    if agent["verdict"] == "no":
        return "does not fit"
    return f"{agent['model'].rpartition('/')[2]}, {agent['max_model_len']} tokens"


if __name__ == "__main__":
    main()
