#!/usr/bin/env python3
"""Print how much the shipped roster downloads for common cards, and the time at two rates, as a Markdown table.

The sizes are the plan's weights of each chosen model, over all cards. The times are computed from them.
"""

from __future__ import annotations

import markdown_table
import planned_cards

GIB = 2**30
MEGABITS = (100, 1000)


def main() -> None:
    """Print the table."""
    rows = []
    for card, agents in planned_cards.planned():
        sizes = {
            agent["model"]: agent["weights_gib_per_rank"] * len(agent["gpus"])
            for agent in agents
            if agent["verdict"] != "no"
        }
        gib = sum(sizes.values())
        times = [f"{gib * GIB * 8 / (rate * 1e6) / 60:.0f} min" for rate in MEGABITS]
        rows.append((card, str(len(sizes)), f"{gib:.0f} GiB", *times))
    print(markdown_table.lines(("card", "models", "weights to download", "at 100 Mbit/s", "at 1 Gbit/s"), rows))


if __name__ == "__main__":
    main()
