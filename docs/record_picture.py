#!/usr/bin/env python3
"""Draw a recorded switch as an animated SVG: `docs/record_picture.py`. docs/generate.py writes docs/switch.svg.

The lines appear in their recorded order; the whole switch takes SWITCH_SECONDS. The picture is text in 80 columns, with
colours for light and dark pages. It is static where the reader's system asks for reduced motion, and refers to no other
file.
"""

from __future__ import annotations

import re
from xml.sax.saxutils import escape

import screens

from roundhouse.agents import status
from roundhouse.util import console

SWITCH_SECONDS = 12.0
STATUS_SECONDS, HOLD_SECONDS = 1.5, 6.0  # until the command `status`, and before the animation starts again
COLUMN, LINE, EDGE, FONT = 8.4, 19, 16, 14  # pixels
_STYLE = """\
    svg { font: %(font)dpx ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
    rect { fill: #f6f8fa; stroke: #d0d7de; } text { fill: #1f2328; white-space: pre; }
    .command { font-weight: bold; fill: #0a6e63; }
    @media (prefers-color-scheme: dark) {
      rect { fill: #161b22; stroke: #30363d; } text { fill: #e6edf3; } .command { fill: #4fd1c0; }
    }
    @media (prefers-reduced-motion: no-preference) {
%(motion)s
    }"""


def svg() -> str:
    """Return the picture of docs/recordings/engine.jsonl."""
    shown = lines()
    end = shown[-1][0] + HOLD_SECONDS
    names = {at: f"t{number}" for number, at in enumerate(sorted({at for at, _ in shown}))}
    motion = []
    for at, name in names.items():
        percent = 100 * at / end
        hidden, visible = f"0%, {percent:.2f}% {{ opacity: 0 }}", f"{percent + 0.01:.2f}%, 100% {{ opacity: 1 }}"
        motion += [
            f"      @keyframes {name} {{ {hidden} {visible} }}",
            f"      .{name} {{ animation: {name} {end:.1f}s infinite }}",
        ]
    size = (2 * EDGE + COLUMN * screens.WIDTH, 2 * EDGE + LINE * len(shown))
    texts = [_text(number, text, names[at]) for number, (at, text) in enumerate(shown)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]:g} {size[1]:g}" role="img"',
            '  aria-label="A switch from architect to dev in a terminal">',
            "  <style>",
            _STYLE % {"font": FONT, "motion": "\n".join(motion)},
            "  </style>",
            f'  <rect x="0.5" y="0.5" width="{size[0] - 1:g}" height="{size[1] - 1:g}" rx="8"/>',
            *texts,
            "</svg>\n",
        ]
    )


def lines() -> list[tuple[float, str]]:
    """Return each line of the terminal, and the second of the animation at which it appears."""
    _, said, looks = screens.recorded("engine")
    found = [(0.0, "$ roundhouse dev")]
    at = 0.0
    for text in said["said"]:
        if match := re.match(r"\[ *([\d.]+) s\]", text):
            at = float(match[1])
        found += [(at, each) for each in console.wrapped(text, screens.WIDTH, " " * 10).splitlines()]
    found += [(at, each) for each in console.wrapped(said["printed"], screens.WIDTH).splitlines()]
    named = [{**row, "model": row["model"].rpartition("/")[2]} for row in looks[-1][1].rows]
    after = status.table(named, status.NARROW, screens.WIDTH)
    later = SWITCH_SECONDS + STATUS_SECONDS
    shown = [(SWITCH_SECONDS * second / at, text) for second, text in found]
    return [*shown, (later, ""), *((later, each) for each in ("$ roundhouse status", *after.splitlines()))]


def _text(number: int, text: str, name: str) -> str:
    kind = f"{name} command" if text.startswith("$ ") else name
    # The length keeps the columns where a reader's font is wider.
    place = f'x="{EDGE}" y="{EDGE + FONT + LINE * number}" textLength="{COLUMN * len(text):g}"'
    return f'  <text class="{kind}" {place} xml:space="preserve">{escape(text)}</text>' if text else ""


if __name__ == "__main__":
    print(svg(), end="")
