"""Show agents, GPUs and a running switch: as a live screen in a terminal, or as a line per change in a log."""

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
_FULL = 0.95  # of the KV cache: a finding if requests wait


class View(NamedTuple):
    """The host at one moment. `killed` is the sentence about a killed switch, None without one."""

    rows: list[StatusRow]
    cards: list[LiveCard]
    switch: Switching | None
    killed: str | None


def observe(plan: Plan, *, cards: bool) -> View:
    """Return the agents, a switch, and the GPUs if `cards`."""
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
    return console.wrapped(console.printable("\n\n".join(blocks)), width)


def line(view: View, before: View | None = None, now: float | None = None) -> str:
    """Return the active agents, the running switch, and the findings that changed, in one line for a log file.

    `before` is the view of the previous line. A finding is in the line after it appears, changes or ends.
    """
    rows = [row for row in view.rows if row["state"] not in ("stopped", None)]
    agents = ", ".join(f"{row['agent']} {row['state']}{_requests(row)}" for row in rows) or "no agent"
    switch = view.switch.text(now) if view.switch else None
    found, past = _findings(view), _findings(before) if before else {}
    appeared = [finding.text for key, finding in found.items() if key not in past]
    kinds = {key[:2] for key in found}  # a finding of the same kind replaces the earlier one
    ended = [
        finding.end for key, finding in past.items() if key not in found and (key[1] == "drift" or key[:2] not in kinds)
    ]
    return "; ".join([agents, *([switch] if switch else []), *appeared, *ended])


def milestone(view: View) -> tuple[object, ...]:
    """Return the values whose change makes a line: states, a switch's phase, tens of percent, findings; no counts."""
    agents = tuple((row["agent"], row["state"], _is_full(row)) for row in view.rows)
    return (agents, view.switch and view.switch.milestone(), tuple(_findings(view)))


def watch(load: Callable[[], Plan], every_seconds: float, rounds: int | None, show: Callable[[str], None]) -> None:
    """Refresh until Ctrl-C, or for so many rounds. Each round loads the plan, which a rollback may have changed."""
    if sys.stdout.isatty():
        _screens(load, every_seconds, rounds)
        return
    before: View | None = None
    for _ in _rounds(rounds, every_seconds):
        view = observe(load(), cards=False)
        if before is None or milestone(view) != milestone(before):
            show(f"{time.strftime('%H:%M:%S')} {line(view, before)}")
            before = view


def _screens(load: Callable[[], Plan], every_seconds: float, rounds: int | None) -> None:
    def shown_now() -> str:
        return screen(observe(load(), cards=True), console.width())

    if importlib.util.find_spec("rich") is None:  # most hosts lack it, and a plain terminal is enough
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


class _Finding(NamedTuple):
    """The sentence when a finding appears, and the words when it ends."""

    text: str
    end: str


def _findings(view: View) -> dict[tuple[object, ...], _Finding]:
    """Return the findings by (agent, kind, value); another value is another finding."""
    found: dict[tuple[object, ...], _Finding] = {}
    for row in view.rows:
        name, problem, crash = row["agent"], row["problem"], row["crash"]
        for each in row["drift"]:
            found[name, "drift", each] = _Finding(f"{name}: {each}", f"{name}: ended: {each}")
        # An engine that drains closes its port before its process ends.
        if problem and row["state"] != "draining":
            found[name, "problem", problem] = _Finding(f"{name}: {problem}", f"{name}: the problem ended")
        if crash:
            text = status.crashed(name, crash)
            end = f"{name}: no crash in the last 24 h"
            found[name, "crash", crash["at"], crash["restart_seconds"]] = _Finding(text, end)
    if view.killed:
        found[None, "killed"] = _Finding(view.killed, "the killed switch is resolved")
    return found


def _is_full(row: StatusRow) -> bool:
    return bool(row["waiting"]) and (row["kv_use"] or 0.0) >= _FULL


def _requests(row: StatusRow) -> str:
    if row["running"] is None:
        return ""
    use = "" if row["kv_use"] is None else f", KV {100 * row['kv_use']:.0f} %"
    return f" ({row['running']} running, {row['waiting']} waiting{use})"
