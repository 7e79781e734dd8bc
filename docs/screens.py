#!/usr/bin/env python3
"""Print a screen of 80 columns from a recorded run, with the current code: `docs/screens.py SCREEN`.

    setup      setup_vllm.py during the pull
    setup-end  setup_vllm.py at its end
    setup-log  setup_vllm.py in a pipe
    switch     the output of a switch
    watch      `watch` during that switch
    log        `watch` in a pipe during that switch
    card       `watch` on a host with a stand-in card
    doctor     the causes of the failed engines in tests/fixtures/logs
    causes     the table of causes
    check      the table of preflight, from tests/fixtures/screens/check.txt

docs/record.py and docs/record_setup.py make the recordings in docs/recordings, which state their origin.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
import time
from typing import Any

from roundhouse.agents import watch as agents_watch
from roundhouse.cli import setup_screen
from roundhouse.cli.setup_run import Event, Run
from roundhouse.doctor import diagnosis
from roundhouse.doctor.cause import heading
from roundhouse.doctor.causes import CAUSES
from roundhouse.paths import CHECKOUT as ROOT
from roundhouse.state.switch_journal import Switching
from roundhouse.util import console

RECORDINGS = ROOT / "docs/recordings"
WIDTH = 80


def recorded(name: str) -> tuple[str, dict[str, Any], list[tuple[float, agents_watch.View]]]:
    """Return the origin of a recording, the output of its switch, and each state with its time."""
    made, said, *looks = [json.loads(line) for line in (RECORDINGS / f"{name}.jsonl").read_text().splitlines()]
    how = f"(recorded on {made['on']} by {made['by']}: {made['what']})"
    return how, said, [(each["at"], _view(each["view"])) for each in looks]


def _view(told: dict[str, Any]) -> agents_watch.View:
    switch = told["switch"]
    return agents_watch.View(**told | {"switch": Switching(*switch) if switch else None})


def switch() -> str:
    """Return the output of the switch."""
    how, said, _ = recorded("engine")
    told = [console.wrapped(line, WIDTH, " " * 10) for line in said["said"]]
    return "\n".join([*told, *(console.wrapped(text, WIDTH) for text in (said["printed"], "", how))])


def watch(name: str = "engine") -> str:
    """Return the screen in the middle of a recorded start."""
    how, _, looks = recorded(name)
    starting = [(at, view) for at, view in looks if view.switch and re.search(r" %| left", view.switch.note)]
    at, view = starting[len(starting) // 2]
    return f"{agents_watch.screen(view, WIDTH, now=at)}\n\n{console.wrapped(how, WIDTH)}"


def log() -> str:
    """Return the lines that watch prints without a terminal."""
    how, _, looks = recorded("engine")
    lines: list[str] = []
    before: agents_watch.View | None = None
    for at, view in looks:
        if before is None or agents_watch.milestone(view) != agents_watch.milestone(before):
            lines.append(f"{time.strftime('%H:%M:%S', time.gmtime(at))} {agents_watch.line(view, before, now=at)}")
            before = view
    return "\n".join([*lines, "", how])


def card() -> str:
    """Return the screen of a host with a card."""
    return watch("card")


def _setup() -> tuple[str, Run, list[Event], dict[str, Any]]:
    """Return the origin of a recorded run of site.yml, the run before its first event, its events, and its end."""
    made, *told, ended = [json.loads(line) for line in (RECORDINGS / "setup.jsonl").read_text().splitlines()]
    how = f"(recorded on {made['on']} by {made['by']}: {made['what']})"
    return how, Run(made["stages"]), [Event(**each) for each in told], ended


def setup() -> str:
    """Return the screen in the middle of the pull, with the times of this run as those of the last run."""
    _, run, events, ended = _setup()
    _end(run, events, ended)
    before = {stage.name: stage.seconds(ended["ended"]) or 0.0 for stage in run.stages}
    notes = [each for each in events if each.what in ("progress", "note")]
    middle = notes[len(notes) // 2]
    _, shown, events, _ = _setup()
    for each in events[: events.index(middle) + 1]:
        shown.feed(each)
    return setup_screen.screen(shown, WIDTH, middle.at, before)


def setup_end() -> str:
    """Return the screen at the end of the run."""
    how, run, events, ended = _setup()
    _end(run, events, ended)
    return f"{setup_screen.summary(run, ended['ended'], WIDTH)}\n\n{console.wrapped(how, WIDTH)}"


def setup_log() -> str:
    """Return the log with its summary."""
    _, run, events, ended = _setup()
    log, lines = setup_screen.Log(), []
    for each in events:
        run.feed(each)
        if told := log.line(each, run):
            lines.append(f"{time.strftime('%H:%M:%S', time.gmtime(each.at))} {told}")
    run.end(ended["ended"], good=ended["status"] == "successful")
    return "\n".join([*lines, setup_screen.summary(run, ended["ended"])])


def _end(run: Run, events: list[Event], ended: dict[str, Any]) -> None:
    for each in events:
        run.feed(each)
    run.end(ended["ended"], good=ended["status"] == "successful")


def doctor() -> str:
    """Return a table in Markdown: the error of each engine that failed, and doctor's cause for it."""
    lines = ["| cause | evidence | remedy |", "|---|---|---|"]
    for log in sorted((ROOT / "tests/fixtures/logs").glob("*.log")):
        found = diagnosis.diagnose("dev", log.read_text().splitlines(), exit_status=1)
        evidence = found.evidence[:110].replace("|", "\\|")
        lines.append(f"| {heading(found.code)} | `{evidence}` | {found.remedy} |")
    return "\n".join(lines)


def check() -> str:
    """Return the table of preflight, as the check's play shows it on a stand-in host."""
    lines = (ROOT / "tests/fixtures/screens/check.txt").read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line.split()[:2] == ["component", "action"])
    return textwrap.dedent("\n".join(lines[first : lines.index("", first)]))


def causes() -> str:
    """Return doctor's table of causes in Markdown."""
    rows = [f"| {heading(each.code)} | {each.text} | {each.remedy} |" for each in CAUSES]
    return "\n".join(["| cause | meaning | remedy |", "|---|---|---|", *rows])


SCREENS = {
    "causes": causes,
    "check": check,
    "setup": setup,
    "setup-end": setup_end,
    "setup-log": setup_log,
    "switch": switch,
    "watch": watch,
    "log": log,
    "card": card,
    "doctor": doctor,
}

if __name__ == "__main__":
    print(SCREENS[sys.argv[1]]())
