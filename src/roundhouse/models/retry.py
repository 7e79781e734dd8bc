"""Retries of what fails for the moment: how often, and how long the waits are.

This runs on hosts in the hub client's locked environment, whose lock has no retry library.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from ..errors import RoundhouseError, interrupted

Result = TypeVar("Result")
_RANDOM = random.SystemRandom()
# The most that a server's own Retry-After may ask for.
_LONGEST_ASKED_SECONDS = 600.0


class TransientError(Exception):
    """A failure that may pass: `reason` says what, `wait_seconds` is the server's Retry-After, None without one.

    `code` is that of the error after the last try.
    """

    def __init__(self, reason: str, wait_seconds: float | None = None, *, code: str = "hub_unreachable") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.wait_seconds = wait_seconds


class Retry(NamedTuple):
    """The limits. Waits double from `first_seconds` up to `longest_seconds`."""

    tries: int = 8
    first_seconds: float = 1.0
    longest_seconds: float = 60.0

    def wait_seconds(self, tried: int, error: TransientError) -> float:
        """Return the wait after the given try (from 1); the server's own number has precedence."""
        if error.wait_seconds is not None:
            return min(error.wait_seconds, _LONGEST_ASKED_SECONDS)
        doubled: float = self.first_seconds * 2 ** (tried - 1)
        # Jitter, so that hosts that were refused together do not return together.
        return min(doubled, self.longest_seconds) * _RANDOM.uniform(0.5, 1.0)

    def call(self, what: str, work: Callable[[], Result], say: Callable[[str], None], stop: threading.Event) -> Result:
        """Return the work's result. Raises RoundhouseError after the last try."""
        tried = 0
        while True:
            try:
                return work()
            except TransientError as error:
                tried += 1
                self.pause(what, tried, error, say, stop)

    def pause(
        self, what: str, tried: int, error: TransientError, say: Callable[[str], None], stop: threading.Event
    ) -> None:
        """Report the failure and wait. Raises RoundhouseError when no try is left."""
        if tried >= self.tries:
            raise RoundhouseError(
                error.code,
                "{what}: {reason}, {tries} times in a row.",
                "Completed bytes are kept: run the command again.",
                what=what,
                reason=error.reason,
                tries=tried,
            )
        seconds = self.wait_seconds(tried, error)
        say(f"{what}: {error.reason}; retry in {seconds:.0f} s ({tried} of {self.tries})")
        if stop.wait(seconds):
            raise interrupted()
