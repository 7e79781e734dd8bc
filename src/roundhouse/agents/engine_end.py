"""Record an engine that ended by itself.

The unit calls record() after each end of its engine (ExecStopPost=), and start.wait_until_healthy() notes the restart.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..host import systemd
from ..plan.deployed import find
from ..state import history, switch_journal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from roundhouse.schema.plan import Plan


def record(plan: Plan, name: str, told: Mapping[str, str]) -> history.Entry | None:
    """Add an entry for an engine that ended by itself, and return it; None for a stop that someone requested.

    `told` are the variables that systemd sets for ExecStopPost= (systemd.exec(5)). A start that fails within a switch
    is part of the switch's own entry. Raises RoundhouseError and OSError.
    """
    agent = find(plan, name)
    now = time.time()
    if systemd.is_asked_to_stop(agent["unit"]) or _is_of_a_switch(name):
        return None
    from . import crashes  # imports the table of causes and http.client; a stop within a switch waits for this process

    entry = crashes.entry(agent, told, now)
    history.add(entry)
    return entry


def _is_of_a_switch(name: str) -> bool:
    running = switch_journal.running()
    return running is not None and name == running.to
