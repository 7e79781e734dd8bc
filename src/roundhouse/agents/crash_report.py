"""Report the crashes of the last day, from the history alone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from ..doctor.cause import UNKNOWN, heading
from ..state import history
from ..util import timestamps

if TYPE_CHECKING:
    from roundhouse.schema.facts import CrashRow


class Crash(NamedTuple):
    """The crashes of one agent in the last day: how many, and the last one."""

    times: int
    last: history.Entry

    @property
    def restart_seconds(self) -> float | None:
        """Return the seconds until the unit had the engine ready again after the last crash; None before that."""
        return self.last.stages.get(history.RESTART)

    def as_json(self) -> CrashRow:
        """Return it for `status --json`."""
        return {
            "at": timestamps.utc(self.last.began),
            "count": self.times,
            "cause": self.last.cause_code or UNKNOWN,
            "evidence": self.last.cause or "",
            "restart_seconds": self.restart_seconds,
        }


def of_last_day(now: float | None = None, entries: list[history.Entry] | None = None) -> dict[str, Crash]:
    """Return the crashes of the last 24 hours by agent."""
    since = (time.time() if now is None else now) - history.DAY_SECONDS
    return {name: Crash(len(found), found[-1]) for name, found in history.crashes(since, entries).items()}


def sentence(name: str, crash: CrashRow) -> str:
    """Return the crashes of an agent for a person, such as `dev crashed at 2026-11-29 15:45:32 (engine died). ...`."""
    times = "" if crash["count"] == 1 else f"{crash['count']} times in the last 24 h, last "
    seconds = crash["restart_seconds"]
    then = "Its unit has not had it ready since." if seconds is None else f"Its unit restarted it in {seconds:g} s."
    at = timestamps.local(timestamps.of_utc(crash["at"]))
    return f"{name} crashed {times}at {at} ({heading(crash['cause'])}). {then}"
