"""Time in tests: a clock that only sleep() advances, and the loop that waits for other processes."""

import time

TIMEOUT_SECONDS = 60  # longer than any wait on any machine


class Clock:
    """A replacement of a module's `time`, so that long waits take no time in a test."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def until(condition, seconds=TIMEOUT_SECONDS):
    """Wait until a condition is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.01)
