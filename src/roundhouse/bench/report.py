"""What `bench` tells a person: the figures side by side, then what they are to be held against."""

from __future__ import annotations

from typing import Any

from ..util import console

COLUMNS = ("at once", "who", "first token", "p99", "tok/s each", "tok/s in all", "requests/min", "failed")
Result = dict[str, Any]


def text(result: Result) -> str:
    """Return the table and the sentences below it."""
    load, form = result["load"], f" ({result['quantization']})" if result["quantization"] else ""
    lines: list[str | None] = [
        f"{result['agent']}: {result['model']}{form}, {result['engine']} on {result['accelerator']}, "
        f"{load['input_tokens']} tokens in, {load['output_tokens']} out",
        console.table(COLUMNS, _rows(result)),
        "",
        _ceiling(result),
        _promised(result),
    ]
    if result["against"]:
        lines.append(_shorter(result))
    return "\n".join(line for line in lines if line is not None)


def _rows(result: Result) -> list[dict[str, Any]]:
    other = result["against"]
    rows = []
    for index, ours in enumerate(result["measured"]):
        rows.append(_row(result["agent"], ours))
        if other:
            rows += [_row(other["model"], other["measured"][index]), _ratio(result["ratios"][index])]
    return rows


def _row(who: str, told: Result) -> dict[str, Any]:
    first, late = (None if told[key] is None else f"{told[key]:.3f} s" for key in ("ttft_seconds", "ttft_p99_seconds"))
    figures = (told["tokens_per_second_each"], told["tokens_per_second"], told["requests_per_minute"], told["failed"])
    return dict(zip(COLUMNS, (told["parallel"], who, first, late, *figures), strict=True))


def _ratio(told: Result) -> dict[str, Any]:
    names = ("ttft_seconds", "", "tokens_per_second_each", "tokens_per_second", "requests_per_minute", "")
    shown = [f"x {told[name]:.2f}" if name and told[name] is not None else "" for name in names]
    return dict(zip(COLUMNS, ("", "ratio", *shown), strict=True))


def _ceiling(result: Result) -> str:
    ceiling, one = result["ceiling_tokens_per_second_each"], result["measured"][0]
    if ceiling is None:
        return "The plan states no ceiling: the card's bandwidth is not known, or a draft makes several tokens a pass."
    told = f"The plan's ceiling for one request is {ceiling:.0f} tokens/s, what the card's memory can deliver"
    if one["parallel"] != 1 or one["tokens_per_second_each"] is None:
        return f"{told}."
    return f"{told}: {one['tokens_per_second_each'] / ceiling:.0%} of it was reached."


def _promised(result: Result) -> str:
    told = result["promised"]
    low, high = told["tokens_per_second_each"]
    soon, late = told["ttft_seconds"]
    rate = told["requests_per_minute"]
    agent = f", {rate:g} requests a minute for {result['agent']}" if rate else ""
    return f"The migration guide has {low:g}-{high:g} tokens/s each, a first token in {soon:g}-{late:g} s{agent}."


def _shorter(result: Result) -> str | None:
    wanted, other = result["load"]["output_tokens"], result["against"]
    short = [
        row["tokens_each"] for row in other["measured"] if row["tokens_each"] and row["tokens_each"] < 0.95 * wanted
    ]
    if not short:
        return None
    return (
        f"{other['model']} at {other['url']} answers {min(short):g} tokens where {wanted} were asked for (it heeds no "
        "ignore_eos): compare tokens a second, not requests a minute."
    )
