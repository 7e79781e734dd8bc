"""`watch`: agents, cards and a running switch, as a live screen in a terminal, or a line at each change in a log."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ..schema.cards import LiveCard
from ..schema.facts import StatusRow
from ..schema.plan import Plan
from ..state import switch_journal
from ..state.switch_journal import Switching
from ..util import console
from . import gpu_usage, status

_CLEAR = "\x1b[H\x1b[2J"
_FULL = 0.95  # of the KV cache: with requests that wait, a finding


class View(NamedTuple):
    """The host at one moment. `killed` is the sentence about a switch that was killed, None for none."""

    rows: list[StatusRow]
    cards: list[LiveCard]
    switch: Switching | None
    killed: str | None


def observe(plan: Plan, *, cards: bool) -> View:
    """Return the agents, a switch, and the cards where they are shown."""
    return View(
        rows=status.rows(plan),
        cards=gpu_usage.cards() if cards else [],
        switch=switch_journal.running(),
        killed=status.killed_switch(),
    )


def screen(view: View, width: int, now: float | None = None) -> str:
    """Return the agents, the cards and the switch in the width of a terminal."""
    named: list[StatusRow] = [{**row, "model": row["model"].rpartition("/")[2]} for row in view.rows]
    blocks = [
        "\n".join([status.table(named, status.NARROW, width), *status.troubles(view.rows)]),
        gpu_usage.text(view.cards),
        _switch(view, now) or "no switch is running",
    ]
    return console.wrapped("\n\n".join(blocks), width)


def line(view: View, now: float | None = None) -> str:
    """Return the active agents, the running switch and what is wrong, in one line for a log file."""
    rows = [row for row in view.rows if row["state"] not in ("stopped", None)]
    agents = ", ".join(f"{row['agent']} {row['state']}{_requests(row)}" for row in rows) or "no agent"
    switch = _switch(view, now)
    return "; ".join([agents, *([switch] if switch else []), *status.troubles(view.rows)])


def milestone(view: View) -> tuple[object, ...]:
    """Return what a line of the log is about: states, a switch's phase and tens of percent, findings. No counts."""
    agents = tuple((row["agent"], row["state"], _is_full(row), *row["drift"], row["problem"]) for row in view.rows)
    return (agents, view.switch and view.switch.milestone(), view.killed is None)


def watch(plan: Plan, every_seconds: float, rounds: int | None, show: Callable[[str], None]) -> None:
    """Show it until Ctrl-C, or for so many rounds."""
    if sys.stdout.isatty():
        _screens(plan, every_seconds, rounds)
        return
    before: tuple[object, ...] | None = None
    for _ in _rounds(rounds, every_seconds):
        view = observe(plan, cards=False)
        if milestone(view) != before:
            show(f"{time.strftime('%H:%M:%S')} {line(view)}")
            before = milestone(view)


def _screens(plan: Plan, every_seconds: float, rounds: int | None) -> None:
    def shown_now() -> str:
        return screen(observe(plan, cards=True), console.width())

    if importlib.util.find_spec("rich") is None:  # a host has it seldom; a plain terminal can do it too
        for _ in _rounds(rounds, every_seconds):
            sys.stdout.write(_CLEAR + shown_now() + "\n")
            sys.stdout.flush()
        return
    live = importlib.import_module("rich.live")
    text = importlib.import_module("rich.text")
    with live.Live(screen=True, auto_refresh=False) as shown:
        for _ in _rounds(rounds, every_seconds):
            shown.update(text.Text(shown_now()), refresh=True)


def _rounds(rounds: int | None, every_seconds: float) -> Iterator[int]:
    done = 0
    while rounds is None or done < rounds:
        yield done
        done += 1
        if rounds is None or done < rounds:
            time.sleep(every_seconds)


def _switch(view: View, now: float | None) -> str | None:
    return view.switch.text(now) if view.switch else view.killed


def _is_full(row: StatusRow) -> bool:
    return bool(row["waiting"]) and (row["kv_use"] or 0.0) >= _FULL


def _requests(row: StatusRow) -> str:
    if row["running"] is None:
        return ""
    use = "" if row["kv_use"] is None else f", KV {100 * row['kv_use']:.0f} %"
    return f" ({row['running']} running, {row['waiting']} waiting{use})"
