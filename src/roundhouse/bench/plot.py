"""Draw the result of a bench as an SVG with four panels, one for each figure.

Each number of parallel requests has a bar for the agent and one for the other endpoint. The plan's ceiling is a line.
The figures of the migration guide are a band.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from xml.sax.saxutils import escape

from .load import Figure, Level
from .run import Result

WIDTH, HEIGHT, MARGIN, HEAD = 1280, 860, 40, 110
INK, FAINT = "#1f2933", "#9aa5b1"
OURS, THEIRS, BAND, CEILING = "#0b7285", "#e8890c", "#e9ecef", "#c92a2a"
PANELS: dict[Figure, str] = {
    "ttft_seconds": "first token, seconds (median): lower is better",
    "tokens_per_second_each": "tokens per second of one request",
    "tokens_per_second": "tokens per second of all requests",
    "requests_per_minute": "requests per minute",
}
_WIDE, _HIGH = (WIDTH - 3 * MARGIN) // 2, (HEIGHT - HEAD - 2 * MARGIN) // 2
_TOP, _BOTTOM = 34, _HIGH - 30  # of the bars, in a panel


def svg(result: Result) -> str:
    """Return the chart."""
    load, other = result["load"], result["against"]
    title = f"{result['agent']}: {result['model'].rsplit('/', 2)[-1]}, {result['engine']}"
    about = f"{load['input_tokens']} tokens in, {load['output_tokens']} out; {result['accelerator']}; {result['at']}"
    rows = [(OURS, result["agent"], result["measured"])]
    if other:
        rows.append((THEIRS, f"{other['model']} at {other['url']}", other["measured"]))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(MARGIN, 42, title, 26),
        _text(WIDTH - MARGIN, 78, about, 15, FAINT, "end"),
    ]
    for index, (colour, label, _) in enumerate(rows):
        parts += [_rect(MARGIN + 300 * index, 65, 16, 16, colour), _text(MARGIN + 24 + 300 * index, 79, label, 17)]
    for index, name in enumerate(PANELS):
        left, top = MARGIN + (index % 2) * (_WIDE + MARGIN), HEAD + (index // 2) * (_HIGH + MARGIN)
        bars = [(colour, measured) for colour, _, measured in rows]
        parts += [f'<g transform="translate({left} {top})">', *_panel(name, result, bars), "</g>"]
    return "\n".join([*parts, "</svg>"]) + "\n"


def top_of(columns: list[list[float | None]], promised: list[float] | float | None, ceiling: float | None) -> float:
    """Return the value at the top of a panel: a round number above all values that it shows."""
    marks = promised if isinstance(promised, list) else [promised]
    shown = [value for value in (*(each for column in columns for each in column), *marks, ceiling) if value]
    most = 1.12 * max(shown, default=1.0)
    step: float = 10 ** math.floor(math.log10(most))
    return math.ceil(2 * most / step) * step / 2


def _panel(name: Figure, result: Result, rows: list[tuple[str, list[Level]]]) -> Iterator[str]:
    promised = None if name == "tokens_per_second" else result["promised"][name]
    ceiling = result["ceiling_tokens_per_second_each"] if name == "tokens_per_second_each" else None
    most = top_of([[row[name] for row in measured] for _, measured in rows], promised, ceiling)

    def y(value: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * min(value / most, 1.0)

    yield _text(0, 17, PANELS[name], 17)
    if promised is not None:
        low, high = promised if isinstance(promised, list) else (promised, promised)
        yield _rect(0, y(high), _WIDE, max(y(low) - y(high), 2), BAND)
        told = f"migration guide: {low:g}" if low == high else f"migration guide: {low:g}-{high:g}"
        yield _text(_WIDE - 4, y(high) - 4, told, 13, FAINT, "end")
    levels = [row["parallel"] for row in rows[0][1]]
    slot = _WIDE / len(levels)
    bar = min(90.0, 0.7 * slot / len(rows))
    for index, level in enumerate(levels):
        middle = slot * (index + 0.5)
        yield _text(middle, _BOTTOM + 20, f"{level} parallel", 14, anchor="middle")
        for number, (colour, measured) in enumerate(rows):
            value, left = measured[index][name], middle + bar * (number - len(rows) / 2)
            if value is None:
                yield _text(left + bar / 2, _BOTTOM - 4, "no value", 13, FAINT, "middle")
                continue
            yield _rect(left + 2, y(value), bar - 4, _BOTTOM - y(value), colour)
            shown = f"{value:.3g}" if value < 1000 else f"{value:.0f}"
            yield _text(left + bar / 2, y(value) - 4, shown, 14, anchor="middle")
    if ceiling is not None:
        yield _rect(0, y(ceiling), _WIDE, 2, CEILING)
        yield _text(_WIDE, y(ceiling) + 16, f"ceiling of the plan: {ceiling:g}", 13, CEILING, "end")
    yield _rect(0, _BOTTOM, _WIDE, 2, INK)


def _rect(left: float, top: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'


def _text(x: float, y: float, text: str, size: int, colour: str = INK, anchor: str = "start") -> str:  # noqa: PLR0913, PLR0917 - the attributes of SVG
    placed = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}"'
    return f"<text {placed}>{escape(text)}</text>"
