"""Compute the bounds of gateway/scheduler.py, for the tests and the benchmark that verify them."""

from __future__ import annotations

from roundhouse.gateway.scheduler import Settings


def most_switches(settings: Settings, seconds: float) -> int:
    """Return the maximum number of switches in that time: one at once, and one for each slot of an agent after it.

    The shortest slot is that of an agent that answers its requests at once and is not asked again.
    """
    return 1 + int(seconds // min(settings.min_active_seconds, settings.in_use_seconds))
