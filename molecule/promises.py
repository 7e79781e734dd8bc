"""What the rules of gateway/scheduler.py promise, for the tests and the benchmark that hold it to them."""

from __future__ import annotations

from roundhouse.gateway.scheduler import Settings


def longest_wait_seconds(settings: Settings, agents: int, switch_seconds: float) -> float:
    """Return how long a request may wait on a card of so many agents, when a switch takes so long.

    While one agent keeps the card, `max_wait_seconds`, or the slot of one whose switch had just begun; then each of the
    others may have the shortest slot before; then its own switch.
    """
    slot = settings.min_active_seconds + switch_seconds
    return max(settings.max_wait_seconds, slot) + max(0, agents - 2) * slot + switch_seconds


def most_switches(settings: Settings, seconds: float) -> int:
    """Return how many switches there may be in that time: one at once, and one each time that an agent had its own."""
    return 1 + int(seconds // settings.min_active_seconds)
