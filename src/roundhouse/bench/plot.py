"""A bench's result as a PNG: runs on the engine's Python, which has Pillow.

    python -m roundhouse.bench.plot RESULT.json PICTURE.png

Four panels, one a figure: a bar for the agent and one for the other endpoint at each number of requests at once, the
plan's ceiling as a line, and what the migration guide promises as a band.
"""

from __future__ import annotations

import importlib
import json
import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

WIDTH, HEIGHT, MARGIN, HEAD = 1280, 860, 40, 110
INK, FAINT, PAPER = "#1f2933", "#9aa5b1", "#ffffff"
OURS, THEIRS, BAND, CEILING = "#0b7285", "#e8890c", "#e9ecef", "#c92a2a"
PANELS = (
    ("ttft_seconds", "first token, seconds (median): less is better"),
    ("tokens_per_second_each", "tokens per second of one request"),
    ("tokens_per_second", "tokens per second in all"),
    ("requests_per_minute", "requests per minute"),
)


class Style(NamedTuple):
    """How a text looks; `anchor` is Pillow's: l, m, r, then a for its top or s for its base line."""

    size: int
    colour: str = INK
    anchor: str = "la"


class Box(NamedTuple):
    """Where a panel's bars stand, in pixels, and the value at its top."""

    left: int
    top: int
    right: int
    bottom: int
    most: float

    def y(self, value: float) -> float:
        """Return the height of a value."""
        return self.bottom - (self.bottom - self.top) * min(value / self.most, 1.0)


def picture(result: dict[str, Any]) -> Any:
    """Return the picture, an image of Pillow's."""
    image = importlib.import_module("PIL.Image").new("RGB", (WIDTH, HEIGHT), PAPER)
    pen = importlib.import_module("PIL.ImageDraw").Draw(image)
    load, other = result["load"], result["against"]
    _text(pen, (MARGIN, 18), f"{result['agent']}: {result['model'].rsplit('/', 2)[-1]}, {result['engine']}", Style(26))
    _legend(
        pen,
        MARGIN,
        62,
        [(OURS, result["agent"]), *([(THEIRS, f"{other['model']} at {other['url']}")] if other else [])],
    )
    about = f"{load['input_tokens']} tokens in, {load['output_tokens']} out; {result['accelerator']}; {result['at']}"
    _text(pen, (WIDTH - MARGIN, 64), about, Style(15, FAINT, "ra"))
    wide, high = (WIDTH - 3 * MARGIN) // 2, (HEIGHT - HEAD - 2 * MARGIN) // 2
    for index, (name, title) in enumerate(PANELS):
        left, top = MARGIN + (index % 2) * (wide + MARGIN), HEAD + (index // 2) * (high + MARGIN)
        _panel(pen, (left, top, left + wide, top + high), name, title, result)
    return image


def _panel(pen: Any, place: tuple[int, int, int, int], name: str, title: str, result: dict[str, Any]) -> None:
    left, top, right, bottom = place
    _text(pen, (left, top), title, Style(17))
    rows = [(OURS, result["measured"])]
    if result["against"]:
        rows.append((THEIRS, result["against"]["measured"]))
    promised = result["promised"].get(name)
    ceiling = result["ceiling_tokens_per_second_each"] if name == "tokens_per_second_each" else None
    box = Box(
        left, top + 34, right, bottom - 30, top_of([[row[name] for row in each] for _, each in rows], promised, ceiling)
    )
    if promised is not None:
        _promise(pen, box, promised)
    _bars(pen, box, name, rows)
    if ceiling is not None:
        pen.line([(box.left, box.y(ceiling)), (box.right, box.y(ceiling))], CEILING, 2)
        _text(pen, (box.right, box.y(ceiling) + 3), f"the plan's ceiling, {ceiling:g}", Style(13, CEILING, "ra"))
    pen.line([(box.left, box.bottom), (box.right, box.bottom)], INK, 2)


def top_of(columns: list[list[float | None]], promised: Any, ceiling: float | None) -> float:
    """Return the value at a panel's top: a round one above all that it shows."""
    marks = promised if isinstance(promised, list) else [promised]
    shown = [value for value in (*(each for column in columns for each in column), *marks, ceiling) if value]
    most = 1.12 * max(shown, default=1.0)
    step: float = 10 ** math.floor(math.log10(most))
    return math.ceil(2 * most / step) * step / 2


def _promise(pen: Any, box: Box, promised: Any) -> None:
    if isinstance(promised, list):
        low, high = promised
        pen.rectangle([box.left, box.y(high), box.right, box.y(low)], BAND)
    else:
        low = high = promised
        pen.line([(box.left, box.y(low)), (box.right, box.y(low))], FAINT, 2)
    told = f"the guide: {low:g}" if low == high else f"the guide: {low:g}-{high:g}"
    _text(pen, (box.right - 4, box.y(high) - 4), told, Style(13, FAINT, "rs"))


def _bars(pen: Any, box: Box, name: str, rows: list[tuple[str, list[dict[str, Any]]]]) -> None:
    levels = [row["parallel"] for row in rows[0][1]]
    slot = (box.right - box.left) / len(levels)
    bar = min(90.0, 0.7 * slot / len(rows))
    for index, level in enumerate(levels):
        middle = box.left + slot * (index + 0.5)
        _text(pen, (middle, box.bottom + 7), f"{level} at once", Style(14, INK, "ma"))
        for number, (colour, measured) in enumerate(rows):
            value = measured[index][name]
            begin = middle + bar * (number - len(rows) / 2)
            if value is None:
                _text(pen, (begin + bar / 2, box.bottom - 4), "none", Style(13, FAINT, "ms"))
                continue
            pen.rectangle([begin + 2, box.y(value), begin + bar - 2, box.bottom], colour)
            shown = f"{value:.3g}" if value < 1000 else f"{value:.0f}"
            _text(pen, (begin + bar / 2, box.y(value) - 4), shown, Style(14, INK, "ms"))


def _legend(pen: Any, left: float, top: float, entries: list[tuple[str, str]]) -> None:
    for colour, label in entries:
        pen.rectangle([left, top + 3, left + 16, top + 19], colour)
        _text(pen, (left + 24, top), label, Style(17))
        left += 24 + pen.textlength(label, font=_font(17)) + 30


def _font(size: int) -> Any:
    return importlib.import_module("PIL.ImageFont").load_default(size)


def _text(pen: Any, at: tuple[float, float], text: str, style: Style) -> None:
    pen.text(at, text, fill=style.colour, font=_font(style.size), anchor=style.anchor)


def main(argv: list[str] | None = None) -> int:
    """Draw, write beside the name, rename, and return 0."""
    source, target = (Path(word) for word in (sys.argv[1:] if argv is None else argv))
    aside = target.with_name(f".{target.name}.partial")
    picture(json.loads(source.read_text())).save(aside, "PNG")
    aside.rename(target)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
