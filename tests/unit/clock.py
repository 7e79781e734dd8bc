"""Time in tests: a clock that only sleeping moves, and the one loop that waits for what others do."""

import time

TIMEOUT_SECONDS = 60  # nothing that comes takes that long, on any machine


class Clock:
    """Stands where a module has `time`: what takes half a minute on a host takes no time in a test."""

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
