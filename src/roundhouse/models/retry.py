"""Retry temporary failures with increasing waits.

This module runs on hosts in the hub client's locked environment, which has no retry library.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from ..errors import RoundhouseError, interrupted

Result = TypeVar("Result")
_RANDOM = random.SystemRandom()
# The upper limit for a server's Retry-After.
_LONGEST_ASKED_SECONDS = 600.0


class TransientError(Exception):
    """Report a temporary failure; `wait_seconds` is the server's Retry-After, None without one.

    `code` is the code of the RoundhouseError that is raised after the last try.
    """

    def __init__(self, reason: str, wait_seconds: float | None = None, *, code: str = "hub_unreachable") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.wait_seconds = wait_seconds


class RangeRefusedError(TransientError):
    """Report a source that does not send the rest of a file: the file is downloaded again from its start."""


class Retry(NamedTuple):
    """The limits of retries. Waits double from `first_seconds` up to `longest_seconds`."""

    tries: int = 8
    first_seconds: float = 1.0
    longest_seconds: float = 60.0

    def wait_seconds(self, tried: int, error: TransientError) -> float:
        """Return the wait in seconds after the given try (from 1); the server's Retry-After has precedence."""
        if error.wait_seconds is not None:
            return min(error.wait_seconds, _LONGEST_ASKED_SECONDS)
        doubled: float = self.first_seconds * 2 ** (tried - 1)
        # Jitter spreads the retries of hosts that failed at the same time.
        return min(doubled, self.longest_seconds) * _RANDOM.uniform(0.5, 1.0)

    def call(self, what: str, work: Callable[[], Result], say: Callable[[str], None], stop: threading.Event) -> Result:
        """Run the work until it succeeds and return its result. Raises RoundhouseError after the last try."""
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
        """Report the failure and wait. Raises RoundhouseError after the last try."""
        if tried >= self.tries:
            raise RoundhouseError(
                error.code,
                "{what} failed {tries} times in a row: {reason}.",
                "Run the command again; it continues from the downloaded bytes.",
                what=what,
                reason=error.reason,
                tries=tried,
            )
        seconds = self.wait_seconds(tried, error)
        say(f"{what}: {error.reason}; retry in {seconds:.0f} s ({tried} of {self.tries})")
        if stop.wait(seconds):
            raise interrupted()
