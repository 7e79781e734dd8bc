"""Streamed text in a terminal: a word is never cut, in whatever pieces it arrives."""

import re

import pytest

from roundhouse.cli.chat_wrap import Wrap

WIDTH = 20


def screen(printed, width=WIDTH):
    """Return the lines of a terminal of so many columns after the output; it wraps as xterm does."""
    lines, column = [""], 0
    for piece in re.findall(r"\x1b\[(\d+)D|\x1b\[(K)|(.)", printed, re.DOTALL):
        back, erase, char = piece
        if back:
            column -= int(back)
        elif erase:
            lines[-1] = lines[-1][:column]
        elif char == "\n" or column == width:
            lines, column = [*lines, "" if char == "\n" else char], 0 if char == "\n" else 1
        else:
            lines[-1], column = lines[-1][:column] + char, column + 1
    return [line.rstrip() for line in lines]


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("One word after another, and no word is cut.", ["One word after", "another, and no", "word is cut."]),
        ("a\n\nbreak stays", ["a", "", "break stays"]),
        ("exactly nineteen ch then", ["exactly nineteen ch", "then"]),
        ("http://example.org/longer-than-a-line x", ["http://example.org/", "longer-than-a-line", "x"]),
        ("text\n```\ncode of more than twenty\n```\nand the text again here", None),
    ],
)
def test_a_word_is_on_one_line_however_it_arrives(text, lines, size):
    wrap = Wrap(WIDTH)
    printed = "".join(wrap.add(text[start : start + size]) for start in range(0, len(text), size))
    if lines is None:
        assert "code of more than twenty\n" in printed
        assert screen(printed)[-2:] == ["and the text again", "here"]
    else:
        assert screen(printed) == lines


def test_a_word_is_printed_before_it_is_complete():
    wrap = Wrap(WIDTH)
    assert [wrap.add(part) for part in ("hel", "lo", " you")] == ["hel", "lo", " you"]


def test_wide_characters_fill_the_line():
    wrap = Wrap(WIDTH)
    printed = wrap.add("語" * 12)
    assert printed == "語" * 9 + "\n" + "語" * 3
