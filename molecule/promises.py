"""Compute the bounds of gateway/scheduler.py, for the tests and the benchmark that verify them."""

from __future__ import annotations

from roundhouse.gateway.scheduler import Settings


def longest_wait_seconds(settings: Settings, agents: int, switch_seconds: float) -> float:
    """Return the longest wait of a request on a card of so many agents, with switches of that length.

    An agent in use keeps the card for `max_wait_seconds`, or for the slot of one whose switch had just begun. Each of
    the other agents may have a shortest slot before the wanted one; its own switch comes last.
    """
    slot = settings.min_active_seconds + switch_seconds
    return max(settings.max_wait_seconds, slot) + max(0, agents - 2) * slot + switch_seconds


def most_switches(settings: Settings, seconds: float) -> int:
    """Return the maximum number of switches in that time: one at once, and one for each slot of an agent after it.

    The shortest slot is that of an agent that answers its requests at once and is not asked again.
    """
    return 1 + int(seconds // min(settings.min_active_seconds, settings.in_use_seconds))
