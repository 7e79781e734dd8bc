"""A switch that runs now, as those see it who look on: where to, since when, its phase, and how far that is.

The turntable as it goes on: a live screen for a terminal, a line at each change for everything else.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ..plan.deployed import Plan
from ..state import serving, switch_journal
from . import gpu_usage, status

_PERCENT = re.compile(r"(\d+) %")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_TIME_LEFT = re.compile(r", about \d+ s left")


class Switching(NamedTuple):
    """What stands in the journal of a switch that runs."""

    to: str
    began: float  # seconds since the epoch
    phase: str
    note: str

    def text(self, now: float | None = None) -> str:
        """Return it in one line: `switching to dev since 12 s, start: loading weights 42 %, about 12 s left`."""
        seconds = (time.time() if now is None else now) - self.began
        told = f": {self.note}" if self.note else ""
        return f"switching to {self.to} since {seconds:.0f} s, {self.phase}{told}"

    def stands(self) -> tuple[str, ...]:
        """Return what stays while nothing of interest changes: no seconds, no counts, percents in steps of ten."""
        note = _TIME_LEFT.sub("", self.note)
        tens = [str(int(each) // 10) for each in _PERCENT.findall(note)]
        return (self.to, self.phase, _NUMBER.sub("#", note), *tens)


def now() -> Switching | None:
    """Return the switch that runs, None when there is none, or when it has only begun to look."""
    if not serving.is_switching():
        return None
    try:
        told = json.loads(switch_journal.path().read_text())
        return Switching(told["to"], float(told["began"]), told["phase"], told["note"])
    except (OSError, ValueError, KeyError, TypeError):  # it ends or begins at this moment
        return None


_CLEAR = "\x1b[H\x1b[2J"
_FULL = 0.95  # of the KV cache: with requests that wait, a finding


class View(NamedTuple):
    """What one look at the host found. `killed` is the sentence about a switch that was killed, None for none."""

    rows: list[dict[str, Any]]
    cards: list[dict[str, Any]]
    switch: Switching | None
    killed: str | None


def look(plan: Plan, *, cards: bool) -> View:
    """Look at the agents, at a switch, and at the cards where they are shown."""
    switch = now()
    told = None if switch else status.running_switch()
    killed = told if told and "was killed" in told else None
    return View(status.rows(plan), gpu_usage.cards() if cards else [], switch, killed)


def screen(view: View, width: int, now: float | None = None) -> str:
    """Return all of it for a terminal: tables cut at its width, sentences wrapped, so that none loses its end."""
    named = [row | {"model": row["model"].rpartition("/")[2]} for row in view.rows]
    blocks = [
        "\n".join([fitted(status.table(named, status.NARROW), width), *_wrapped(status.troubles(view.rows), width)]),
        fitted(gpu_usage.text(view.cards), width),
        "\n".join(_wrapped([_switch(view, now) or "no switch is running"], width)),
    ]
    return "\n\n".join(blocks)


def line(view: View, now: float | None = None) -> str:
    """Return who serves, what runs and what is wrong, in one line: what a log file wants."""
    rows = [row for row in view.rows if row["state"] not in ("stopped", None)]
    told = ", ".join(f"{row['agent']} {row['state']}{_requests(row)}" for row in rows) or "no agent"
    switch = _switch(view, now)
    return "; ".join([told, *([switch] if switch else []), *status.troubles(view.rows)])


def stands(view: View) -> tuple[Any, ...]:
    """Return what a log's line is about: who serves, a switch's phase and tens of percent, findings. No counts."""
    agents = tuple((row["agent"], row["state"], _is_full(row), *row["drift"], row["problem"]) for row in view.rows)
    return (agents, view.switch and view.switch.stands(), view.killed is None)


def watch(plan: Plan, every_seconds: float, rounds: int | None, show: Callable[[str], None]) -> None:
    """Show it until Ctrl-C, or for so many rounds."""
    if sys.stdout.isatty():
        _screens(plan, every_seconds, rounds)
        return
    before: tuple[Any, ...] | None = None
    for _ in _rounds(rounds, every_seconds):
        view = look(plan, cards=False)
        if stands(view) != before:
            show(f"{time.strftime('%H:%M:%S')} {line(view)}")
            before = stands(view)


def _screens(plan: Plan, every_seconds: float, rounds: int | None) -> None:
    def now() -> str:
        return screen(look(plan, cards=True), shutil.get_terminal_size().columns)

    if importlib.util.find_spec("rich") is None:  # a host has it seldom; a plain terminal can do it too
        for _ in _rounds(rounds, every_seconds):
            sys.stdout.write(_CLEAR + now() + "\n")
            sys.stdout.flush()
        return
    live: Any = importlib.import_module("rich.live")
    text: Any = importlib.import_module("rich.text")
    with live.Live(screen=True, auto_refresh=False) as shown:
        for _ in _rounds(rounds, every_seconds):
            shown.update(text.Text(now()), refresh=True)


def fitted(text: str, width: int) -> str:
    """Cut what is wider than the terminal: a wrapped table cannot be read."""
    return "\n".join(each if len(each) <= width else each[: width - 1] + ">" for each in text.splitlines())


def _wrapped(sentences: list[str], width: int) -> list[str]:
    return [each for sentence in sentences for each in textwrap.wrap(sentence, width, subsequent_indent="  ")]


def _rounds(rounds: int | None, every_seconds: float) -> Iterator[int]:
    done = 0
    while rounds is None or done < rounds:
        yield done
        done += 1
        if rounds is None or done < rounds:
            time.sleep(every_seconds)


def _switch(view: View, now: float | None) -> str | None:
    return view.switch.text(now) if view.switch else view.killed


def _is_full(row: dict[str, Any]) -> bool:
    return bool(row["waiting"]) and (row["kv_use"] or 0.0) >= _FULL


def _requests(row: dict[str, Any]) -> str:
    if row["running"] is None:
        return ""
    use = "" if row["kv_use"] is None else f", KV {100 * row['kv_use']:.0f} %"
    return f" ({row['running']} running, {row['waiting']} waiting{use})"
