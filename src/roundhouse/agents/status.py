"""Report the agents now: systemd's state, the engines' own answers, crashes, and a running switch."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..errors import RoundhouseError
from ..host import systemd
from ..plan import deployed
from ..state import serving, switch_journal
from ..util import console, timestamps
from ..util.pairs import pairs
from . import crash_report

if TYPE_CHECKING:
    from roundhouse.schema.cards import CardMemory
    from roundhouse.schema.facts import CrashRow, StatusRow
    from roundhouse.schema.plan import Agent, Plan


COLUMNS = ("agent", "state", "port", "requests", "KV use", "since", "max_model_len", "model")
# The columns of the screen of `watch`.
NARROW = tuple(name for name in COLUMNS if name not in ("since", "max_model_len"))
# The deadline of all engines together: a person waits for it, and a program may ask each second.
ANSWER_SECONDS = 0.8


def rows(plan: Plan, answer_seconds: float = ANSWER_SECONDS) -> list[StatusRow]:
    """Return one row per agent; what only an engine knows is None without one.

    The engines are asked at the same time, and a row has the problem of one that does not answer by the deadline. An
    agent that a deployment or a rollback has removed since `plan` was read gets no row.
    """
    found = systemd.show_all([agent["unit"] for agent in plan["agents"]])
    crashed = crash_report.of_last_day()
    seen = [
        (agent, unit)
        for agent, unit in pairs(plan["agents"], found)
        if not (isinstance(unit, RoundhouseError) and _was_removed(agent))
    ]
    made = [(agent, unit, _row(agent, unit, crashed.get(agent["name"]))) for agent, unit in seen]
    running = [
        (agent, unit, row)
        for agent, unit, row in made
        if not isinstance(unit, RoundhouseError) and unit.state in ("ready", "draining")
    ]
    if running:
        from . import answers  # imports http.client, half of this command's time, which stopped engines do not need

        answers.fill(plan, running, answer_seconds)
    return [row for _, _, row in made]


def _was_removed(agent: Agent) -> bool:
    """Return whether the plan in place, which may be newer than the one that the caller read, lacks an agent."""
    try:
        plan = deployed.load(deployed.PATH)
    except RoundhouseError:  # no plan, or not a valid one: the caller's is the one to report
        return False
    return agent["name"] not in [each["name"] for each in plan["agents"]]


def running_switch() -> str | None:
    """Return the sentence about a running or killed switch, None without one."""
    if serving.is_switching():
        return f"a switch is running ({switch_journal.describe()})"
    return killed_switch()


def killed_switch() -> str | None:
    """Return the sentence about a killed switch, None without one or while another switch runs."""
    killed = None if serving.is_switching() else switch_journal.killed()
    if killed is None:
        return None
    minutes = max(0.0, time.time() - killed.began) / 60
    return (
        f"a switch to {killed.to} was killed {minutes:.0f} min ago in its phase {killed.phase}: `roundhouse resume` "
        "completes it or rolls it back"
    )


def table(found: list[StatusRow], columns: tuple[str, ...] = COLUMNS, limit: int | None = None) -> str:
    """Return the agents for a person, in at most `limit` columns (default: the terminal's); active ones are marked."""
    shown = [
        {**row, "requests": _requests(row), "KV use": _percent(row["kv_use"]), "since": _local(row["since"])}
        for row in found
    ]
    return console.table(columns, shown, ["*" if row["state"] == "ready" else " " for row in found], limit)


def text(found: list[StatusRow], held: list[CardMemory], switching: str | None, cards: Iterable[str] = ()) -> str:
    """Return agents, GPU memory, problems of agents and `cards`, and a switch for a person."""
    lines = [table(found)]
    for each in held:
        owners = ", ".join(f"{owner['owner']} {_gib(owner['gib'])}" for owner in each["owners"]) or "no process"
        lines.append(f"GPU {each['gpu']}: {each['used_gib']:.1f} of {each['total_gib']:.1f} GiB in use: {owners}")
    return "\n".join([*lines, *cards, *troubles(found), *([switching] if switching else [])])


def troubles(found: list[StatusRow]) -> list[str]:
    """Return a line for each drift, each problem, and the crashes of each agent."""
    lines = [f"{row['agent']}: {each}" for row in found for each in (*row["drift"], row["problem"]) if each]
    return [*lines, *(crashed(row["agent"], row["crash"]) for row in found if row["crash"])]


def crashed(name: str, crash: CrashRow) -> str:
    """Return the crashes of an agent in one line."""
    return f"{crash_report.sentence(name, crash)} `roundhouse doctor` shows the cause and the remedy."


def _row(agent: Agent, unit: systemd.Unit | RoundhouseError, crash: crash_report.Crash | None) -> StatusRow:
    row: StatusRow = {
        "agent": agent["name"],
        "state": None,
        "port": agent["port"],
        "model": agent["model"],
        "max_model_len": None,
        "running": None,
        "waiting": None,
        "kv_use": None,
        "since": None,
        "version": None,
        "problem": None,
        "drift": [],
        "crash": crash.as_json() if crash else None,
    }
    if isinstance(unit, RoundhouseError):
        row["problem"] = unit.message
        return row
    row["state"] = unit.state
    if unit.state == "failed":
        from . import start_history  # imports the table of causes

        failed = start_history.problem(agent, unit)
        row["problem"] = failed.message if failed else None
    if unit.state in ("ready", "draining") and unit.since:
        row["since"] = timestamps.utc(timestamps.of_systemd(unit.since))
    return row


def _local(since: str | None) -> str | None:
    return None if since is None else timestamps.local(timestamps.of_utc(since))


def _requests(row: StatusRow) -> str | None:
    return None if row["running"] is None else f"{row['running']} running, {row['waiting']} waiting"


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.0f} %"


def _gib(size: float | None) -> str:
    return "an unknown amount" if size is None else f"{size:.1f} GiB"
