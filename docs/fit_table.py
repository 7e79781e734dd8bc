#!/usr/bin/env python3
"""Print what the shipped roster becomes on common cards, as one Markdown table."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
from roundhouse import cards, plan_roster, planner
from roundhouse.decision import Host

CARDS = (("RTX 5060 Ti", 1), ("RTX 4090", 1), ("RTX 5060 Ti", 2), ("L40S", 1), ("H100 80GB", 1))


def main() -> None:
    """Print the table."""
    roster = plan_roster.read(plan_roster.ROSTER)
    print("| card | agent | model | tokens | KV cache | gave up |")
    print("|---|---|---|---|---|---|")
    for name, count in CARDS:
        host = plan_roster.imagined(cards.find(name), count)
        for agent in planner.build(roster, planner.Settings("cuda", "", "", 0), host)["agents"]:
            print(f"| {' | '.join(_row(host, agent))} |")


def _row(host: Host, agent: dict) -> tuple[str, ...]:
    card = host.cards[0]
    many = f"{len(host.cards)} x " if len(host.cards) > 1 else ""
    given_up = [each["setting"] for each in agent["given_up"]]
    return (
        f"{many}{card.name}, {card.cuda_gib:g} GiB",
        agent["name"],
        agent["model"].removeprefix("Qwen/") + (f", on {len(agent['gpus'])} cards" if len(agent["gpus"]) > 1 else ""),
        str(agent["max_model_len"]),
        "16-bit" if agent["kv_cache_dtype"] == "auto" else agent["kv_cache_dtype"],
        ", ".join(given_up) or "nothing",
    )


if __name__ == "__main__":
    main()
