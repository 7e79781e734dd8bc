"""Show a plan: each agent's model and memory, the settings that were changed to fit, and what was measured."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from ..schema.plan import Agent, FitRow, Plan
from ..util import console
from ..util.pairs import pairs
from . import measured
from .candidates import MODEL

if TYPE_CHECKING:
    from roundhouse.schema.facts import Measurement

BAR_WIDTH = 60
_STATED = {
    "weights_gib": "weights {:.2f} GiB",
    "kv_gib": "KV cache {:.2f} GiB",
    "kv_tokens": "{:.0f} tokens",
    "activation_gib": "activations with CUDA graphs {:.2f} GiB",
}
# How the bar marks each part, in its order.
MARKS = {"weights": "#", "overhead": "+", "KV cache": "=", "unused": "."}
LEGEND = "  ".join(f"{mark} {name}" for name, mark in MARKS.items())


def summary(plan: Plan) -> str:
    """Return one line for each agent: name, verdict, model and max_model_len."""
    rows = [_summary_row(agent) for agent in plan["agents"]]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in pairs(row, widths)).rstrip() for row in rows)


def _summary_row(agent: Agent) -> tuple[str, str, str, str]:
    if not agent["taken"]:
        return agent["name"], agent["verdict"], "no model of the roster is known to fit", ""
    return agent["name"], agent["verdict"], agent["model"].rpartition("/")[2], f"{agent['max_model_len']:,} tokens"


def text(plan: Plan, starts: list[Measurement]) -> str:
    """Return the summary, and a block for each agent. `starts` are measured.load's entries."""
    agents, on_cards = plan["agents"], plan["accelerator"] == "cuda"
    legend = [f"Memory of a card: {LEGEND}", ""] if any(agent["fit"] for agent in agents) else []
    blocks = [_block(agent, measured.of(agent, starts), on_cards) for agent in agents]
    return "\n".join([summary(plan), *cards(plan), "", *legend, "\n\n".join(blocks)])


def cards(plan: Plan) -> list[str]:
    """Return a line for each GPU with memory left for a desktop or the system, and for each that no agent can use."""
    lines = {}
    for agent in plan["agents"]:
        for number in agent["gpus"] if agent["fit"] else []:
            if left := _left(agent["fit"]):
                lines[f"GPU {number}: the plan leaves {left}."] = True
    return [*lines, *(card["problem"] for card in plan.get("cards", []) if card["problem"])]


def _left(fit: FitRow | None) -> str | None:
    """Return the memory that a fit leaves for others, None if it leaves none. A plan may be of an earlier version."""
    parts = (("desktop_gib", "the desktop"), ("system_gib", "the system"))
    found = [(size, whose) for name, whose in parts if (size := cast("dict[str, Any]", fit or {}).get(name))]
    return " and ".join(f"{size:.2f} GiB for {whose}" for size, whose in found) or None


def bar(fit: FitRow, share: float) -> str:
    """Return a card's memory as a line of BAR_WIDTH marks, weights first; their sum is exact, each part is rounded."""
    card, weights, overhead = fit["card_gib"], fit["weights_gib_per_rank"] or 0.0, fit["overhead_gib"] or 0.0
    ends = [weights, weights + overhead, card * share, card]
    places = [round(BAR_WIDTH * min(end, card) / card) for end in ends]
    line, at = "", 0
    for mark, end in pairs(MARKS.values(), places):
        line += mark * max(0, end - at)
        at = max(at, end)
    return f"[{line}]"


def _numbers(agent: Agent) -> dict[str, str | None]:
    """Return the numbers of a computed fit, each by its name."""
    fit = agent["fit"]
    if not fit or not fit["kv_bytes_per_token_per_rank"]:
        return {"verdict": agent["verdict"]}
    dtype = "" if agent["kv_cache_dtype"] == "auto" else f" {agent['kv_cache_dtype']}"
    ceiling = fit["decode_ceiling_tokens_per_second"]
    return {
        "format": fit["format"],
        "weights": f"{fit['weights_gib_per_rank']:.2f} GiB",
        "KV cache": f"{fit['kv_tokens']} tokens",
        "KV per token": f"{fit['kv_bytes_per_token_per_rank'] / 1024:g} KiB{dtype}",
        "max_model_len": str(agent["max_model_len"]),
        "tokens/s": f"<= {ceiling:.0f}" if ceiling else None,
        "verdict": agent["verdict"],
    }


def _block(agent: Agent, start: Measurement | None, on_cards: bool) -> str:
    fit = agent["fit"]
    numbers = ", ".join(str(number) for number in agent["gpus"])
    made = f", quantized here by {agent['quantize']}," if agent["quantize"] else ""
    lines = [f"{agent['name']}: {agent['model']}{made} on {f'GPU {numbers}' if on_cards else 'the CPU'}"]
    lines.append(console.packed(console.fields(_numbers(agent)), console.width(), "  "))
    if fit and fit["weights_gib_per_rank"] is not None:
        share = agent["gpu_memory_utilization"]
        lines += [f"  {bar(fit, share)} {fit['card_gib']:g} GiB", f"  {_sum(fit, share)}"]
    if start:
        lines.append(f"  measured here: {_measured(start)}")
    if "start_timeout_why" in agent:  # not of a plan of an earlier version
        lines.append(f"  start timeout {agent['start_timeout_seconds']} s: {agent['start_timeout_why']}")
    if passed := agent.get("engine_options"):
        lines.append(f"  engine options: {', '.join(f'{name} {json.dumps(value)}' for name, value in passed.items())}")
    lines += [f"  {reason}" for reason in agent["refused"]]
    for each in agent["given_up"]:
        # The lines of `refused` have the reasons for a model: one line for each larger model.
        why = "" if each["setting"] == MODEL else f": {each['why']}"
        lines.append(f"  changed {each['setting']} from {each['wanted']} to {each['got']}{why}")
    lines += [f"  {note}" for note in agent["notes"]]
    return "\n".join(lines)


def _sum(fit: FitRow, share: float) -> str:
    left = fit["card_gib"] * (1 - share)
    others = _left(fit)
    return (
        f"weights {fit['weights_gib_per_rank']:.2f} + overhead {fit['overhead_gib']:.2f} + KV cache "
        f"{fit['kv_gib_per_rank']:.2f} GiB (gpu_memory_utilization {share:g}), {left:.2f} GiB unused"
        + (f", of it {others}" if others else "")
    )


def _measured(start: Measurement) -> str:
    stated = cast("dict[str, Any]", start)
    return ", ".join(form.format(stated[name]) for name, form in _STATED.items() if name in stated)
