"""The progress of a download: for a terminal, as lines of a log, or as JSON lines for a program."""

from __future__ import annotations

import json
import os
import sys
import textwrap
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, TypedDict

from . import background_job, console
from .units import GIB, MIB

# The window of the rate: long enough for a steady number, short enough to follow a change.
WINDOW_SECONDS = 20.0
# Set by a program that reads the output of a play.
IN_PLAY_AS_JSON = "ROUNDHOUSE_PROGRESS_AS_JSON"
TERMINAL_SECONDS, LINES_SECONDS, JSON_SECONDS = 0.5, 10.0, 2.0


class _Event(TypedDict):
    event: str  # progress, note, or doing: a long step without bytes
    text: str


class Event(_Event, total=False):
    """An event; only one of progress has the numbers. None is unknown."""

    done_bytes: int
    total_bytes: int
    bytes_per_second: float | None
    seconds_left: float | None


Write = Callable[[Event], None]


class Progress:
    """Counts bytes from any thread, and writes an event at intervals until it is closed."""

    def __init__(self, write: Write, every_seconds: float) -> None:
        self._write = write
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._every_seconds = every_seconds
        self._done = self._total = 0
        self._doing: tuple[str, float] | None = None
        self._seen: deque[tuple[float, int]] = deque()
        self._writer = threading.Thread(target=self._go, daemon=True)

    def __enter__(self) -> Progress:
        """Start to write events."""
        self._writer.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Write the last event."""
        self._closed.set()
        self._writer.join()
        self._event()

    def expect(self, total_bytes: int, done_bytes: int = 0) -> None:
        """Set the bytes to fetch, and those that exist already."""
        with self._lock:
            self._total, self._done = total_bytes, done_bytes

    def came(self, count: int) -> None:
        """Count received bytes; a negative count is of discarded ones."""
        with self._lock:
            self._done += count

    def note(self, text: str) -> None:
        """Print a text at once, and repeat it as the current step from then on."""
        with self._lock:
            if self._doing:
                self._doing = (text, self._doing[1])
            self._write({"event": "note", "text": console.printable(text)})

    @contextmanager
    def doing(self, text: str) -> Iterator[None]:
        """Write the step and its duration at intervals, within the `with`."""
        with self._lock:
            self._doing = (text, time.monotonic())
        try:
            yield
        finally:
            with self._lock:
                self._doing = None

    def _go(self) -> None:
        while not self._closed.wait(self._every_seconds):
            self._event()

    def _event(self) -> None:
        with self._lock:
            now = time.monotonic()
            if self._doing:
                text, since = self._doing
                self._write({"event": "doing", "text": f"{console.printable(text)} ({duration(now - since)})"})
            elif self._total:
                self._seen.append((now, self._done))
                while len(self._seen) > 2 and now - self._seen[0][0] > WINDOW_SECONDS:
                    self._seen.popleft()
                self._write(event(self._done, self._total, _rate(list(self._seen))))


def _rate(seen: list[tuple[float, int]]) -> float | None:
    """Return bytes per second between the first and the last of these samples."""
    (begun, first), (now, last) = seen[0], seen[-1]
    return (last - first) / (now - begun) if now > begun and last > first else None


def event(done: int, total: int, rate: float | None) -> Event:
    """Return the event for a state; `rate` in bytes per second, None when no byte came lately."""
    left = (total - done) / rate if rate and done < total else None
    unit, name = (GIB, "GiB") if total >= GIB else (MIB, "MiB")
    text = f"{done / unit:.2f} of {total / unit:.2f} {name} ({100 * done / total:.0f} %)"
    if rate and done < total:
        text += f", {rate / MIB:.1f} MiB/s, {duration(left or 0)} left"
    return {
        "event": "progress",
        "text": text,
        "done_bytes": done,
        "total_bytes": total,
        "bytes_per_second": rate and round(rate),
        "seconds_left": left and round(left),
    }


def duration(seconds: float) -> str:
    """Return 40 s, 12 min, 3 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def on_stream(stream: TextIO | None = None, *, as_json: bool = False) -> Progress:
    """Return the progress for a stream (default: stderr): one line that is rewritten at a terminal, else lines."""
    out = stream or sys.stderr
    if as_json:
        return Progress(lambda found: print(json.dumps(found), file=out, flush=True), JSON_SECONDS)
    if not out.isatty():
        return Progress(lambda found: print(console.wrapped(found["text"]), file=out, flush=True), LINES_SECONDS)

    def rewrite(found: Event) -> None:
        # A note stays; a state replaces the one before, and the last one stays.
        if found["event"] == "note":
            print(f"\r\033[K{console.wrapped(found['text'])}", file=out, flush=True)
            return
        last = found["event"] == "progress" and found["done_bytes"] == found["total_bytes"]
        print(f"\r\033[K{_one_line(found['text'], console.width())}", end="\n" if last else "", file=out, flush=True)

    return Progress(rewrite, TERMINAL_SECONDS)


def _one_line(text: str, columns: int) -> str:
    """Return the text in less than the width; of a longer one its begin, and its end in brackets, such as (12 s)."""
    if len(text) < columns:
        return text
    begin, bracket, end = text.rpartition(" (")
    tail = f" ...{bracket}{end}" if begin else " ..."
    return textwrap.shorten(begin or text, max(columns - 1 - len(tail), 1), placeholder="") + tail


def display_line(host: str, found: Event) -> str:
    """Return an event of a host as a line of a play: its text, or JSON where `IN_PLAY_AS_JSON` is set."""
    return json.dumps({"host": host, **found}) if IN_PLAY_AS_JSON in os.environ else f"{host}: {found['text']}"


def from_display_line(line: str) -> tuple[str, Event] | None:
    """Return the host and event of a JSON line of `display_line`, None for another line."""
    try:
        found = json.loads(line)
        host, shown = found.pop("host"), (found["event"], found["text"])
        return (host, found) if all(isinstance(each, str) for each in shown) else None
    except (ValueError, KeyError, TypeError):
        return None


def in_file(path: Path) -> Progress:
    """Return the progress as JSON lines in a file."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    out = path.open("w")
    print(background_job.began(), file=out, flush=True)
    return Progress(lambda found: print(json.dumps(found), file=out, flush=True), JSON_SECONDS)


@contextmanager
def in_play(path: str | None) -> Iterator[Progress]:
    """Write the progress into the file that a play's action reads, and remove the file at the end; None writes none."""
    try:
        with in_file(Path(path or os.devnull)) as shown:
            yield shown
    finally:
        if path:
            Path(path).unlink()
