"""A clock that only sleeping moves: what takes half a minute on a host takes no time in a test."""


class Clock:
    """Stands where a module has `time`."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
