#!/usr/bin/env python3
"""Print the plan of the shipped roster on common cards, as one Markdown table."""

from __future__ import annotations

from roundhouse.catalog import gpus
from roundhouse.cli import plan, plan_options, plan_question
from roundhouse.plan import build
from roundhouse.plan.decide import Host
from roundhouse.schema.plan import Agent

CARDS = (("RTX 5060 Ti 16GB", 1), ("RTX 4090", 1), ("RTX 5060 Ti 16GB", 2), ("L40S", 1), ("H100 80GB", 1))


def main() -> None:
    """Print the table."""
    roster = plan.read(plan_options.ROSTER)
    print("| card | agent | model | weights | KV cache per token | max_model_len | reduced | verdict |")
    print("|---|---|---|---|---|---|---|---|")
    for name, count in CARDS:
        host = plan_question.imagined(gpus.find(name), count)
        for agent in build.build(roster, plan.SETTINGS, host)["agents"]:
            print(f"| {' | '.join(_row(host, agent))} |")


def _row(host: Host, agent: Agent) -> tuple[str, ...]:
    card, fit = host.cards[0], agent["fit"] or {}
    many = f"{len(host.cards)} x " if len(host.cards) > 1 else ""
    given_up = [each["setting"] for each in agent["given_up"]]
    dtype = "" if agent["kv_cache_dtype"] == "auto" else f" {agent['kv_cache_dtype']}"
    return (
        f"{many}{card.name}",
        agent["name"],
        agent["model"].removeprefix("Qwen/") + (f" on {len(agent['gpus'])} cards" if len(agent["gpus"]) > 1 else ""),
        f"{fit['weights_gib_per_rank']:.2f} GiB",
        f"{fit['kv_bytes_per_token_per_rank'] / 1024:g} KiB{dtype}",
        str(agent["max_model_len"]),
        ", ".join(given_up) or "-",
        agent["verdict"],
    )


if __name__ == "__main__":
    main()
