"""Decide which command recovers from what a killed command left: the control service, the watchdogs and `run` ask this.

`resume` completes a killed switch or deployment, or undoes it. `routes` corrects a gateway that announces something
else than units, journal and disk state.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ..doctor.cause import as_line
from ..errors import RoundhouseError
from ..gateway import announced, haproxy
from ..schema.plan import Plan
from ..state import switch_journal
from ..state.note import Report
from . import deploy_journal, resume

RESUME, ROUTES = ["resume"], ["routes"]
# A person who sees the kill may run a command at once, and it recovers too. It should not be refused for this.
PATIENCE_SECONDS = 5.0
# After a recovery that failed. Its causes, such as a full disk, do not end soon.
AGAIN_SECONDS = 60.0
_POLL_SECONDS = 1.0


class Recovery:
    """Observe the host from one round to the next, and decide when a recovery is due."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left_since: float | None = None
        self._not_before = float("-inf")

    def due(self, plan: Plan) -> list[str] | None:
        """Return the command to run now, None for none. Only for a moment in which no switch runs."""
        if not self._is_left() and not announced.unrecorded(plan):
            self._left_since = None
            return None if haproxy.is_current(plan) else ROUTES
        return RESUME if self._is_old_enough() else None

    def is_due(self) -> bool:
        """Return whether `resume` is due for the journal of a killed command. A switch may run meanwhile."""
        if not self._is_left():
            self._left_since = None
            return False
        return self._is_old_enough()

    def _is_left(self) -> bool:
        return switch_journal.is_left() or deploy_journal.is_left()

    def _is_old_enough(self) -> bool:
        now = self._clock()
        if self._left_since is None:
            self._left_since = now
        return now >= max(self._left_since + PATIENCE_SECONDS, self._not_before)

    def begun(self) -> None:
        """Note that the recovery begins; another try comes AGAIN_SECONDS later at the earliest."""
        self._not_before = self._clock() + AGAIN_SECONDS


def run(
    report: Report, wait: Callable[[float], None] = time.sleep, clock: Callable[[], float] = time.monotonic
) -> None:
    """Wait until no journal is left: a command removes its own, and `resume` removes one of a killed command.

    systemd runs this beside each switch and deployment (roundhouse-journal.path), so it depends neither on the control
    service nor on an active agent.
    """
    observed = Recovery(clock)
    while switch_journal.is_written() or deploy_journal.is_written():
        wait(_POLL_SECONDS)
        try:
            if observed.is_due():
                observed.begun()
                report("a command was killed before it was complete: recovering")
                resume.resume(report)
        except RoundhouseError as error:  # another try comes later
            report(as_line(error))
