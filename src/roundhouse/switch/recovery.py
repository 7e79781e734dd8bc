"""Decide which command recovers from what a killed command left: the control service and the watchdogs ask this.

`resume` completes a killed switch or deployment, or undoes it. `routes` corrects a gateway that announces something
else than units, journal and disk state.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ..gateway import announced, haproxy
from ..schema.plan import Plan
from ..state import switch_journal
from . import deploy_journal

RESUME, ROUTES = ["resume"], ["routes"]
# A person who sees the kill may run a command at once, and it recovers too. It should not be refused for this.
PATIENCE_SECONDS = 5.0
# After a recovery that failed. Its causes, such as a full disk, do not end soon.
AGAIN_SECONDS = 60.0


class Recovery:
    """Observe the host from one round to the next, and decide when a recovery is due."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left_since: float | None = None
        self._not_before = float("-inf")

    def due(self, plan: Plan) -> list[str] | None:
        """Return the command to run now, None for none. Only for a moment in which no switch runs."""
        if not (switch_journal.is_left() or deploy_journal.is_left() or announced.unrecorded(plan)):
            self._left_since = None
            return None if haproxy.is_current(plan) else ROUTES
        now = self._clock()
        if self._left_since is None:
            self._left_since = now
        return RESUME if now >= max(self._left_since + PATIENCE_SECONDS, self._not_before) else None

    def begun(self) -> None:
        """Note that the recovery begins; another try comes AGAIN_SECONDS later at the earliest."""
        self._not_before = self._clock() + AGAIN_SECONDS
