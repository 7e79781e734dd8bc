"""Write the report of `bench`: the figures side by side, then the values to compare them with."""

from __future__ import annotations

from typing import Union

from ..util import console
from ..util.pairs import pairs
from .load import Level
from .run import Against, Ratios, Result

COLUMNS = ("parallel", "agent", "first token", "p99", "tok/s", "all tok/s", "req/min", "failed")
Row = dict[str, Union[str, float, None]]  # by COLUMNS


def text(result: Result) -> str:
    """Return the table and the sentences below it."""
    load, form = result["load"], f" ({result['quantization']})" if result["quantization"] else ""
    lines: list[str | None] = [
        f"{result['agent']}: {result['model']}{form}, {result['engine']} on {result['accelerator']}, "
        f"prompts of {load['input_tokens']} tokens, answers of {load['output_tokens']}",
        console.table(COLUMNS, _rows(result)),
        "",
        _ceiling(result),
        _promised(result),
    ]
    if result["against"]:
        lines.append(_shorter(result["against"], result["load"]["output_tokens"]))
    return "\n".join(line for line in lines if line is not None)


def _rows(result: Result) -> list[Row]:
    other = result["against"]
    rows = []
    for index, ours in enumerate(result["measured"]):
        rows.append(_row(result["agent"], ours))
        if other:
            rows += [_row(other["model"], other["measured"][index]), _ratio(result["ratios"][index])]
    return rows


def _row(model: str, told: Level) -> Row:
    times = (told["ttft_seconds"], told["ttft_p99_seconds"])
    first, late = (None if seconds is None else f"{seconds:.3f} s" for seconds in times)
    figures = (told["tokens_per_second_each"], told["tokens_per_second"], told["requests_per_minute"], told["failed"])
    return dict(pairs(COLUMNS, (told["parallel"], model, first, late, *figures)))


def _ratio(told: Ratios) -> Row:
    names = ("ttft_seconds", "", "tokens_per_second_each", "tokens_per_second", "requests_per_minute", "")
    shown = ["" if (ratio := told.get(name)) is None else f"x {ratio:.2f}" for name in names]
    return dict(pairs(COLUMNS, ("", "ratio", *shown)))


def _ceiling(result: Result) -> str:
    ceiling, one = result["ceiling_tokens_per_second_each"], result["measured"][0]
    if ceiling is None:
        return (
            "The plan has no ceiling: the bandwidth of the card is unknown, or a draft makes several tokens in a pass."
        )
    told = f"The ceiling for one request is {ceiling:.0f} tokens/s, by the memory bandwidth of the card."
    if one["parallel"] != 1 or one["tokens_per_second_each"] is None:
        return told
    return f"{told} One request reached {one['tokens_per_second_each'] / ceiling:.0%} of it."


def _promised(result: Result) -> str:
    told = result["promised"]
    low, high = told["tokens_per_second_each"]
    soon, late = told["ttft_seconds"]
    rate = told["requests_per_minute"]
    agent = f", {rate:g} requests per minute for {result['agent']}" if rate else ""
    return f"The migration guide states {low:g}-{high:g} tokens/s each, a first token in {soon:g}-{late:g} s{agent}."


def _shorter(other: Against, wanted: int) -> str | None:
    short = [
        row["tokens_each"] for row in other["measured"] if row["tokens_each"] and row["tokens_each"] < 0.95 * wanted
    ]
    if not short:
        return None
    return (
        f"{other['model']} at {other['url']} answered with {min(short):g} tokens, not {wanted}: it ignores ignore_eos. "
        "Compare tokens per second, not requests per minute."
    )
