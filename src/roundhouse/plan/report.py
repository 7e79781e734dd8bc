"""A plan for a person: what each agent gets, how its card's memory divides, what was given up, what was measured."""

from __future__ import annotations

from typing import Any

from . import measured
from .candidates import MODEL

COLUMNS = (
    *("agent", "model", "format", "weights", "KV cache", "a token", "max_model_len", "tokens/s", "gave up", "verdict"),
)
BAR_WIDTH = 60
# How the bar marks each part, in its order.
MARKS = {"weights": "#", "overhead": "+", "KV cache": "=", "the card's own": "."}
LEGEND = "  ".join(f"{mark} {name}" for name, mark in MARKS.items())
UNKNOWN_CELL = "-"


def table(plan: dict[str, Any]) -> str:
    """Return one aligned line an agent, under a heading."""
    cells = [COLUMNS, *(_cells(agent) for agent in plan["agents"])]
    widths = [max(len(line[column]) for line in cells) for column in range(len(COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]
    return "\n".join(line.rstrip() for line in lines)


def text(plan: dict[str, Any], starts: list[dict[str, Any]]) -> str:
    """Return the table, a bar for each agent and what was given up. `starts` are measured.load's entries."""
    on_cards = plan["accelerator"] == "cuda"
    blocks = [_block(agent, measured.of(agent, starts), on_cards) for agent in plan["agents"]]
    legend = [f"Memory of a card: {LEGEND}", ""] if any(agent["fit"] for agent in plan["agents"]) else []
    return "\n".join([table(plan), "", *legend, "\n\n".join(blocks)])


def bar(fit: dict[str, Any], share: float) -> str:
    """Return a card's memory as a line of BAR_WIDTH marks, weights first; rounded so that the whole is right."""
    card, weights, overhead = fit["card_gib"], fit["weights_gib_per_rank"], fit["overhead_gib"]
    ends = [weights, weights + overhead, card * share, card]
    places = [round(BAR_WIDTH * min(end, card) / card) for end in ends]
    line, at = "", 0
    for mark, end in zip(MARKS.values(), places, strict=True):
        line += mark * max(0, end - at)
        at = max(at, end)
    return f"[{line}]"


def _cells(agent: dict[str, Any]) -> tuple[str, ...]:
    fit = agent["fit"]
    if not fit or fit["kv_tokens"] is None:
        return (agent["name"], agent["model"], *[UNKNOWN_CELL] * (len(COLUMNS) - 3), agent["verdict"])
    dtype = "" if agent["kv_cache_dtype"] == "auto" else f" {agent['kv_cache_dtype']}"
    ceiling = fit["decode_ceiling_tokens_per_second"]
    return (
        agent["name"],
        agent["model"],
        fit["format"],
        f"{fit['weights_gib_per_rank']:.2f} GiB",
        f"{fit['kv_tokens']} tokens",
        f"{fit['kv_bytes_per_token_per_rank'] / 1024:g} KiB{dtype}",
        str(agent["max_model_len"]),
        f"<= {ceiling:.0f}" if ceiling else UNKNOWN_CELL,
        ", ".join(each["setting"] for each in agent["given_up"]) or UNKNOWN_CELL,
        agent["verdict"],
    )


def _block(agent: dict[str, Any], start: dict[str, Any] | None, on_cards: bool) -> str:
    fit = agent["fit"]
    numbers = ", ".join(str(number) for number in agent["gpus"])
    made = f", quantized here by {agent['quantize']}," if agent.get("quantize") else ""
    lines = [f"{agent['name']}: {agent['model']}{made} on {f'GPU {numbers}' if on_cards else 'the CPU'}"]
    if fit and fit["weights_gib_per_rank"] is not None:
        share = agent["gpu_memory_utilization"]
        lines += [f"  {bar(fit, share)} {fit['card_gib']:g} GiB", f"  {_sum(fit, share)}"]
    if start:
        lines.append(f"  measured here: {_measured(start)}")
    if "start_timeout_why" in agent:  # not of a plan of an earlier version
        lines.append(f"  a start may take {agent['start_timeout_seconds']} s: {agent['start_timeout_why']}")
    lines += [f"  {reason}" for reason in agent["refused"]]
    for each in agent["given_up"]:
        # Why a model was given up stands in the lines before: one for each that was passed over.
        why = "" if each["setting"] == MODEL else f": {each['why']}"
        lines.append(f"  gave up {each['setting']} {each['wanted']} for {each['got']}{why}")
    lines += [f"  {note}" for note in agent["notes"]]
    return "\n".join(lines)


def _sum(fit: dict[str, Any], share: float) -> str:
    left = fit["card_gib"] * (1 - share)
    return (
        f"weights {fit['weights_gib_per_rank']:.2f} + overhead {fit['overhead_gib']:.2f} + KV cache "
        f"{fit['kv_gib_per_rank']:.2f} GiB (gpu_memory_utilization {share:g}), {left:.2f} left to the card"
    )


def _measured(start: dict[str, Any]) -> str:
    said = {"weights_gib": "weights {:.2f} GiB", "kv_gib": "KV cache {:.2f} GiB", "kv_tokens": "{:.0f} tokens"}
    said |= {"activation_gib": "activations with CUDA graphs {:.2f} GiB"}
    return ", ".join(shape.format(start[name]) for name, shape in said.items() if name in start)
