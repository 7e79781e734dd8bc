"""Text in the width of a terminal: what wraps, what stays whole, and what a table becomes where it does not fit."""

import os
import subprocess
import sys

import pytest

from roundhouse.util import console

ROWS = [
    {"agent": "architect", "state": "ready", "model": "Qwen/Qwen2.5-Coder-14B-Instruct-AWQ", "since": "11-29 14:45"},
    {"agent": "dev", "state": "stopped", "model": "Qwen/Qwen2.5-7B-Instruct-AWQ", "since": None},
]
COLUMNS = ("agent", "state", "model", "since")


def test_a_table_that_fits_is_aligned_and_one_that_does_not_is_a_block_a_row():
    assert console.table(COLUMNS, ROWS, ["*", " "], limit=80).splitlines() == [
        "  agent      state    model                                since",
        "* architect  ready    Qwen/Qwen2.5-Coder-14B-Instruct-AWQ  11-29 14:45",
        "  dev        stopped  Qwen/Qwen2.5-7B-Instruct-AWQ         -",
    ]
    assert console.table(COLUMNS, ROWS, ["*", " "], limit=60).splitlines() == [
        "* architect   state: ready",
        "              model: Qwen/Qwen2.5-Coder-14B-Instruct-AWQ",
        "              since: 11-29 14:45",
        "  dev         state: stopped",
        "              model: Qwen/Qwen2.5-7B-Instruct-AWQ",
    ]


def test_a_long_name_is_a_line_above_its_block():
    rows = [{"model": "/srv/lab/models/SmolLM2-135M-Instruct", "size": "1.23", "agents": "architect, dev, po"}]
    assert console.table(("model", "size", "agents"), rows, limit=50).splitlines() == [
        "/srv/lab/models/SmolLM2-135M-Instruct",
        "    size: 1.23   agents: architect, dev, po",
    ]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("one two three four", ["one two three", "  four"]),
        ("  one two three four", ["  one two", "    three", "    four"]),
        ("  a  b c d e f g h", ["  a  b c d e", "     f g h"]),
        ("see /a/path/that/is/longer", ["see", "  /a/path/that/is/longer"]),
        ("run `make a b`", ["run", "  `make a b`"]),
        ("one\n\ntwo", ["one", "", "two"]),
    ],
)
def test_a_line_wraps_at_words_below_its_begin(text, lines):
    assert console.wrapped(text, 13).splitlines() == lines


def test_the_width_is_that_of_columns_and_80_in_a_pipe(monkeypatch):
    monkeypatch.setenv("COLUMNS", "123")
    assert console.width() == 123
    monkeypatch.delenv("COLUMNS")
    program = "from roundhouse.util import console; print(console.width())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "80\n"


def test_a_journal_gets_a_sentence_as_one_line(monkeypatch, tmp_path):
    """Systemd names the stream of a unit in JOURNAL_STREAM."""
    monkeypatch.setenv("COLUMNS", "20")
    program = "from roundhouse.util import console; console.progress()('a sentence of more than twenty columns')"
    for is_journal in (True, False):
        with (tmp_path / "stream").open("w") as stream:
            found = os.fstat(stream.fileno())
            named = f"{found.st_dev}:{found.st_ino if is_journal else 0}"
            environment = os.environ | {"JOURNAL_STREAM": named}
            subprocess.run([sys.executable, "-c", program], stderr=stream, env=environment, check=True)
        assert ((tmp_path / "stream").read_text().count("\n") == 1) is is_journal
