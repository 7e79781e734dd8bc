#!/usr/bin/env python3
"""What a person sees, made by the program's own code from recorded runs: `docs/screens.py SCREEN`.

SCREEN is one of these. switch: what a switch said. watch: the screen of a terminal of 80 columns in the midst of that
switch. log: what watch wrote of it into a file. card: the screen beside a (stand-in) card. The recordings, in
docs/recordings, are made by docs/record.py and say how. doctor: each log that a real engine left when it was made to
fail, and its cause.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
from roundhouse import diagnosis
from roundhouse import watch as live
from roundhouse.switching import Switching

RECORDINGS = ROOT / "docs/recordings"
WIDTH = 80


def recorded(name: str) -> tuple[str, dict[str, Any], list[tuple[float, live.View]]]:
    """Return how a recording was made, what its switch said, and each look with its time."""
    made, said, *looks = [json.loads(line) for line in (RECORDINGS / f"{name}.jsonl").read_text().splitlines()]
    how = f"(recorded on {made['on']} by {made['by']}: {made['what']})"
    return how, said, [(each["at"], _view(each["view"])) for each in looks]


def _view(told: dict[str, Any]) -> live.View:
    switch = told["switch"]
    return live.View(**told | {"switch": Switching(*switch) if switch else None})


def switch() -> str:
    """Return what the switch said, and how it ended."""
    how, said, _ = recorded("engine")
    return "\n".join([*said["said"], said["printed"], "", how])


def watch(name: str = "engine") -> str:
    """Return the screen in the midst of a recorded start."""
    how, _, looks = recorded(name)
    starting = [(at, view) for at, view in looks if view.switch and re.search(r" %| left", view.switch.note)]
    at, view = starting[len(starting) // 2]
    return f"{live.screen(view, WIDTH, now=at)}\n\n{how}"


def log() -> str:
    """Return the lines that watch writes where there is no terminal."""
    how, _, looks = recorded("engine")
    lines, before = [], None
    for at, view in looks:
        if live.stands(view) != before:
            before = live.stands(view)
            lines.append(f"{time.strftime('%H:%M:%S', time.gmtime(at))} {live.line(view, now=at)}")
    return "\n".join([*lines, "", how])


def card() -> str:
    """Return the screen of a host with a card."""
    return watch("card")


def doctor() -> str:
    """Return a table in Markdown: what the real engine wrote when it was made to fail, and what doctor says to it."""
    lines = ["| cause | the line that shows it | cure |", "|---|---|---|"]
    for log in sorted((ROOT / "tests/fixtures/logs").glob("*.log")):
        found = diagnosis.diagnose("dev", log.read_text().splitlines(), exit_status=1)
        evidence = found.evidence[:110].replace("|", "\\|")
        lines.append(f"| {found.cause} | `{evidence}` | {found.cure} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print({"switch": switch, "watch": watch, "log": log, "card": card, "doctor": doctor}[sys.argv[1]]())
