"""Break text at words while it streams to a terminal."""

from __future__ import annotations

import unicodedata

_FENCE = "```"
_TAB = 8


class Wrap:
    """Add line breaks to streamed text, so that the terminal of `width` columns cuts no word.

    A word is printed as it arrives. When it reaches the margin, its beginning is erased and printed again on the next
    line. Blocks of code between triple backticks are left as they are, so that they can be copied.
    """

    def __init__(self, width: int) -> None:
        self._limit = width - 1  # in the last column some terminals wrap at once and others do not
        self._line = ""  # as the model wrote it, for its fences
        self._word = ""
        self._column = 0
        self._is_code = False

    def add(self, text: str) -> str:
        """Return what to print for the next part of the text."""
        return "".join(map(self._char, text))

    def _char(self, char: str) -> str:
        if char == "\n":
            self._is_code ^= self._line.lstrip().startswith(_FENCE)
            self._line = self._word = ""
            self._column = 0
            return char
        self._line += char
        columns = _columns(char, self._column)
        wraps = self._column + columns > self._limit and not self._is_code
        if char in " \t":
            self._word = ""
            if wraps:
                self._column = 0
                return "\n"
            self._column += columns
            return char
        moved = self._word if columns == 1 else ""  # a line of wide characters may end after any of them
        self._word = moved + char if columns == 1 else ""
        if not wraps:
            self._column += columns
            return char
        if len(moved) >= self._limit:  # a word as long as the line is cut
            moved, self._word = "", char
        self._column = len(moved) + columns
        erase = f"\x1b[{len(moved)}D\x1b[K" if moved else ""
        return f"{erase}\n{moved}{char}"


def _columns(char: str, column: int) -> int:
    """Return the columns that a character takes at a column of the terminal."""
    if char == "\t":
        return _TAB - column % _TAB
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
