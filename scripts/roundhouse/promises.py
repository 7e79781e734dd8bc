"""The figures of the users' migration guide, once: what `bench` lays its own beside. Nobody measured them here."""

from __future__ import annotations

from typing import Any

# The guide, part 1, row "Throughput": for one request, whichever agent.
TOKENS_PER_SECOND = (50.0, 80.0)
# Part 7: "after model loaded".
TTFT_SECONDS = (1.0, 2.0)
# Part 7: of its own three agents, whose names are the roster's.
REQUESTS_PER_MINUTE = {"po": 100.0, "architect": 30.0, "dev": 25.0}


def of(agent: str) -> dict[str, Any]:
    """Return what the guide promises of an agent, by the names that `bench` gives its figures; None for nothing."""
    return {
        "tokens_per_second_each": list(TOKENS_PER_SECOND),
        "ttft_seconds": list(TTFT_SECONDS),
        "requests_per_minute": REQUESTS_PER_MINUTE.get(agent),
    }
