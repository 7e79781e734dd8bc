"""The progress of a pull, for a person, a log and a program."""

import io
import json

import pytest
from clock import TIMEOUT_SECONDS, until

from roundhouse.util import progress
from roundhouse.util.units import GIB, MIB


@pytest.mark.parametrize(
    ("done", "rate", "text", "left"),
    [
        (0, None, "0.00 of 4.00 GiB (0 %)", None),
        (GIB, 100 * MIB, "1.00 of 4.00 GiB (25 %), 100.0 MiB/s, 31 s left", 31),
        (GIB, MIB, "1.00 of 4.00 GiB (25 %), 1.0 MiB/s, 51 min left", 3072),
        (GIB, MIB / 4, "1.00 of 4.00 GiB (25 %), 0.2 MiB/s, 3 h 25 min left", 12288),
        (4 * GIB, 100 * MIB, "4.00 of 4.00 GiB (100 %)", None),
    ],
)
def test_an_event_has_gib_rate_and_time_left(done, rate, text, left):
    found = progress.event(done, 4 * GIB, rate)
    assert (found["text"], found["seconds_left"]) == (text, left)


def test_json_lines_are_objects_and_count_what_was_thrown_away(monkeypatch):
    monkeypatch.setattr(progress, "JSON_SECONDS", 0.02)
    out = io.StringIO()
    with progress.on_stream(out, as_json=True) as shown:
        shown.expect(10 * MIB, 2 * MIB)
        shown.came(4 * MIB)
        shown.note("again")
        shown.came(-MIB)
        until(lambda: f'"done_bytes": {5 * MIB}' in out.getvalue())
        shown.came(MIB)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert {"event": "note", "text": "again"} in lines
    states = [line["done_bytes"] for line in lines if line["event"] == "progress"]
    assert states[-1] == 6 * MIB
    assert 5 * MIB in states
    assert states[-1] < lines[-1]["total_bytes"]


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self):
        return True


def test_a_terminal_has_one_line_that_is_rewritten_and_notes_that_stay(monkeypatch):
    monkeypatch.setattr(progress, "TERMINAL_SECONDS", TIMEOUT_SECONDS)  # no line between those that are looked at
    out = Terminal()
    with progress.on_stream(out) as shown:
        shown.expect(MIB)
        shown.note("the hub answers 503; again in 1 s")
        shown.came(MIB)
    assert out.getvalue() == "\r\033[Kthe hub answers 503; again in 1 s\n\r\033[K1.00 of 1.00 MiB (100 %)\n"


def test_nothing_is_printed_if_nothing_is_downloaded():
    out = io.StringIO()
    with progress.on_stream(out):
        pass
    assert out.getvalue() == ""


def test_only_one_line_of_the_terminal_is_rewritten(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(progress, "TERMINAL_SECONDS", 0.01)
    out = Terminal()
    with progress.on_stream(out) as shown, shown.doing("hashing " + "model.safetensors " * 5):
        until(lambda: "hashing" in out.getvalue())
    line = out.getvalue().split("\r\033[K")[1]
    assert line == "hashing model.safetensors ... (0 s)"
