"""How often and how long something that passes by itself is tried again."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from .errors import RoundhouseError
from .hub_errors import Again

Result = TypeVar("Result")
_RANDOM = random.SystemRandom()


class Patience(NamedTuple):
    """The waits double from `first_seconds` up to `longest_seconds`; progress sets the count back to 0."""

    tries: int = 8
    first_seconds: float = 1.0
    longest_seconds: float = 60.0

    def wait_seconds(self, tried: int, error: Again) -> float:
        """Return how long to wait after the try of that number, from 1: what the hub asks for, if it does."""
        if error.wait_seconds is not None:
            return min(error.wait_seconds, 600.0)
        doubled: float = self.first_seconds * 2 ** (tried - 1)
        # Spread, so that hosts that were refused together do not come back together.
        return min(doubled, self.longest_seconds) * _RANDOM.uniform(0.5, 1.0)

    def call(self, what: str, work: Callable[[], Result], say: Callable[[str], None], stop: threading.Event) -> Result:
        """Return the work's result, after as many tries as it takes. Raises RoundhouseError after the last."""
        tried = 0
        while True:
            try:
                return work()
            except Again as error:
                tried += 1
                self.pause(what, tried, error, say, stop)

    def pause(self, what: str, tried: int, error: Again, say: Callable[[str], None], stop: threading.Event) -> None:
        """Say what happened and wait before the next try. Raises RoundhouseError when there is none left."""
        if tried >= self.tries:
            raise RoundhouseError(
                "pull", f"{what}: {error.reason}, {tried} times in a row. What came is kept: run it again."
            )
        seconds = self.wait_seconds(tried, error)
        say(f"{what}: {error.reason}; again in {seconds:.0f} s ({tried} of {self.tries})")
        if stop.wait(seconds):
            raise RoundhouseError("interrupted", "interrupted.")
