"""Compute the limits that the rules of gateway/scheduler.py imply, for tests and a benchmark."""

from __future__ import annotations

from roundhouse.gateway.scheduler import Settings


def longest_wait_seconds(settings: Settings, agents: int, switch_seconds: float) -> float:
    """Return the longest wait of a request on a card with `agents` agents, given the duration of a switch.

    It has three terms. The first is `max_wait_seconds` while one agent keeps the card, or the slot of an agent whose
    switch had just begun. Then each other agent may get its shortest slot. The last term is the agent's own switch.
    """
    slot = settings.min_active_seconds + switch_seconds
    return max(settings.max_wait_seconds, slot) + max(0, agents - 2) * slot + switch_seconds


def most_switches(settings: Settings, seconds: float) -> int:
    """Return the most switches in that time: one at the start, and one after each agent's shortest slot."""
    return 1 + int(seconds // settings.min_active_seconds)
