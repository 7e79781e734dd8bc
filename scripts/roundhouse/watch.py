"""The turntable as it goes on: a live screen for a terminal, a line at each change for everything else."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import time
from collections.abc import Callable
from typing import Any

from . import gpu_live, journal, state, status
from .plan import Plan

_CLEAR = "\x1b[H\x1b[2J"


def screen(plan: Plan) -> str:
    """Return all of it as text: agents, cards, and the switch that runs."""
    rows = status.rows(plan)
    switching = f"switching: {journal.told()}" if state.is_switching() else status.running_switch()
    return layout(rows, gpu_live.cards(), switching)


def layout(rows: list[dict[str, Any]], cards: list[dict[str, Any]], switching: str | None) -> str:
    """Return the screen of what was seen."""
    named = [row | {"model": row["model"].rpartition("/")[2]} for row in rows]
    first = "\n".join([status.table(named, status.NARROW), *status.troubles(rows)])
    return "\n\n".join([first, gpu_live.text(cards), switching or "no switch is running"])


def line(plan: Plan) -> str:
    """Return who serves and what runs, in one line: what a log file wants."""
    rows = [row for row in status.rows(plan) if row["state"] not in ("stopped", None)]
    told = ", ".join(f"{row['agent']} {row['state']}{_requests(row)}" for row in rows) or "no agent"
    return told + (f"; switching {journal.told()}" if state.is_switching() else "")


def watch(plan: Plan, every_seconds: float, rounds: int | None, show: Callable[[str], None]) -> None:
    """Show it until Ctrl-C, or for so many rounds."""
    if sys.stdout.isatty():
        _screens(plan, every_seconds, rounds)
        return
    before = ""
    for _ in _rounds(rounds, every_seconds):
        now = line(plan)
        if now != before:
            show(f"{time.strftime('%H:%M:%S')} {now}")
            before = now


def _screens(plan: Plan, every_seconds: float, rounds: int | None) -> None:
    if importlib.util.find_spec("rich") is None:  # a host has it seldom; a plain terminal can do it too
        for _ in _rounds(rounds, every_seconds):
            sys.stdout.write(_CLEAR + fitted(screen(plan)) + "\n")
            sys.stdout.flush()
        return
    live: Any = importlib.import_module("rich.live")
    text: Any = importlib.import_module("rich.text")
    with live.Live(screen=True, auto_refresh=False) as shown:
        for _ in _rounds(rounds, every_seconds):
            shown.update(text.Text(fitted(screen(plan))), refresh=True)


def fitted(text: str, width: int | None = None) -> str:
    """Cut what is wider than the terminal: a wrapped table cannot be read."""
    width = width or shutil.get_terminal_size().columns
    return "\n".join(each if len(each) <= width else each[: width - 1] + ">" for each in text.splitlines())


def _rounds(rounds: int | None, every_seconds: float) -> Any:
    done = 0
    while rounds is None or done < rounds:
        yield done
        done += 1
        if rounds is None or done < rounds:
            time.sleep(every_seconds)


def _requests(row: dict[str, Any]) -> str:
    if row["running"] is None:
        return ""
    use = "" if row["kv_use"] is None else f", KV {100 * row['kv_use']:.0f} %"
    return f" ({row['running']} running, {row['waiting']} waiting{use})"
