"""Print for a person: help, tables, wrapped sentences, progress and errors, in the width of the terminal."""

from __future__ import annotations

import argparse
import functools
import gettext
import itertools
import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ..errors import RoundhouseError, UsageError
from .pairs import pairs
from .suggest import RENAMED_OPTIONS, did_you_mean, near

# Of what --json prints. 2: an error is {"code", "message", "remedy", "fields"}.
SCHEMA = 2
# The width without a terminal and without COLUMNS.
WIDTH = 80
# A man page is 78 columns wide in a terminal of 80, and indents its text by 7.
MAN_WIDTH = 71
# Between two fields of a block.
_GAP = "   "
# A longer name is printed on a separate line above its block.
_NAME_CHARACTERS = 26
# `  name   description`: a continued description is aligned below its first line.
_ITEM = re.compile(r" +\S+(?: \S+)* {2,}(?=\S)")


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Formats help in the width of the terminal; paragraphs are filled, lists keep their lines."""

    def __init__(self, prog: str, columns: int | None = None) -> None:
        super().__init__(prog, width=columns or width())

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Return the text with its paragraphs filled; an indented line, or a heading with a colon, stays a line."""
        joined = re.sub(r"(?<=[^:\n])\n(?=[^\s])", " ", text)
        return wrapped(joined, width, hanging="")


# The command as the user typed it on the machine from which --on called this one.
CALLED_AS = "ROUNDHOUSE_CALLED_AS"


def command_name(script: str = "switch.py", installed: str = "roundhouse") -> str:
    """Return the command as the reader calls it: a checkout's script by its path, else the installed name."""
    if script == "switch.py" and (typed := os.environ.get(CALLED_AS)):
        return typed
    return f"scripts/{script}" if Path(sys.argv[0]).parent.name == "scripts" else installed


class Parser(argparse.ArgumentParser):
    """Raises UsageError where argparse would print its usage and exit."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=Formatter, **options)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Return the arguments. Raises UsageError with a suggestion for an option that the parser does not have."""
        if option := self.unknown_option(sys.argv[1:] if args is None else args):
            raise self.no_option(option)
        found, rest = self.parse_known_args(args, namespace)
        if rest:
            raise UsageError(
                "unexpected_argument",
                "{program} does not take the argument {argument!r}.",
                "{program} --help shows what it takes.",
                program=self.prog,
                argument=rest[0],
            )
        return found

    def unknown_option(self, words: Sequence[str]) -> str | None:
        """Return the first option among the words that the parser does not have, None if it has all of them."""
        known = {name for each in self._actions for name in each.option_strings}
        for word in itertools.takewhile(lambda word: word != "--", words):
            option = word.partition("=")[0]
            # A negative number is a value; -n5 is -n with one, -fn two options.
            if re.match(r"--\w|-[a-zA-Z]", option) and not {option, option[:2]} & known:
                return option
        return None

    def no_option(self, option: str) -> UsageError:
        """Return the error for an option that the parser does not have."""
        meant = self.meant(option)
        remedy = f"Did you mean {meant}?" if meant else "{program} --help lists the options."
        text = "{program} has no option {option}."
        return UsageError("unknown_option", text, remedy, program=self.prog, option=option)

    def meant(self, option: str) -> str | None:
        """Return the most similar option, None without one; the leading hyphens do not count."""
        options = [name for name in self.options() if name.startswith("--")]
        if RENAMED_OPTIONS.get(option) in options:
            return RENAMED_OPTIONS[option]
        found = near(option.lstrip("-"), [name[2:] for name in options])
        return found and f"--{found}"

    def options(self) -> list[str]:
        """Return the names of the options that the help shows."""
        return [name for each in self._actions if each.help != argparse.SUPPRESS for name in each.option_strings]

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Raise UsageError for a value that is not among an argument's choices."""
        if action.choices is None or value in action.choices:
            return
        choices = [str(choice) for choice in action.choices]
        name = action.option_strings[-1] if action.option_strings else action.metavar or action.dest.upper()
        remedy = did_you_mean(str(value), choices, "Write one of {choices}.")
        fields = {"name": name, "value": value, "choices": ", ".join(choices)}
        raise UsageError("choice_invalid", "{name} is {value!r}.", remedy, **fields)

    def error(self, message: str) -> NoReturn:
        """Raise argparse's message, or the error for a missing argument."""
        about, _, names = message.partition(": ")
        if about == gettext.gettext("the following arguments are required: %s").partition(": ")[0]:
            text, remedy = "{program} needs {names}.", "Write {program} {names}."
            raise UsageError("argument_missing", text, remedy, program=self.prog, names=names.replace(", ", " "))
        raise UsageError(
            "usage", "{message}.", "{program} --help shows what is allowed.", program=self.prog, message=_upper(message)
        )


def _upper(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def help_text(parser: argparse.ArgumentParser, columns: int = WIDTH) -> str:
    """Return the help in a fixed width, for documents and the man page."""
    parser.formatter_class = functools.partial(Formatter, columns=columns)
    return parser.format_help()


def until_read(run: Callable[[], int]) -> int:
    """Run a command and return its exit status; 0 when the reader of its output (`| head`) has read enough."""
    try:
        status = run()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def width() -> int:
    """Return COLUMNS, else the terminal's width, else WIDTH."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 0:
        return int(columns)
    try:
        return os.get_terminal_size(sys.__stdout__.fileno() if sys.__stdout__ else -1).columns or WIDTH
    except (OSError, ValueError):  # no terminal, or a closed file
        return WIDTH


def wrapped(text: str, columns: int | None = None, hanging: str = "  ") -> str:
    """Return the text with each line wrapped at words; a continued line is indented.

    A word that is longer than the width, such as a path, stays whole.
    """
    limit = width() if columns is None else columns
    return "\n".join(line for each in text.splitlines() for line in _lines(each, limit, hanging))


def _lines(line: str, columns: int, hanging: str) -> list[str]:
    if len(line) <= columns:
        return [line]
    import textwrap  # not needed for lines that fit

    item = _ITEM.match(line)
    start = item[0] if item and len(item[0]) <= columns // 2 else line[: len(line) - len(line.lstrip())]
    below = " " * len(start) + ("" if item and start == item[0] else hanging)
    room = columns - len(below)
    # A command in backquotes stays on one line, so that it can be copied.
    rest = re.sub(
        r"`[^`]+`", lambda found: found[0].replace(" ", "\0" if len(found[0]) <= room else " "), line[len(start) :]
    )
    options: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
    found = textwrap.wrap(rest, columns, initial_indent=start, subsequent_indent=below, **options)
    return [each.replace("\0", " ") for each in found]


# Control characters and the marks that reverse or hide text; a line break and a tab stay.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Return a text without characters that control a terminal: they are escaped by their numbers.

    Texts of engines, models, hubs and old files are printed, and none of them may move the cursor or set the clipboard.
    """
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def progress() -> Callable[[str], None]:
    """Return a function that prints a sentence on stderr, with the seconds since this call before it."""
    begun = time.monotonic()
    return lambda text: say(f"[{time.monotonic() - begun:5.1f} s] {text}", hanging=" " * 10)


def lines() -> Callable[[str], None]:
    """Return a function that prints a sentence on stderr as one line: a journal adds the time."""
    return _tell


def say(text: str, hanging: str = "  ") -> None:
    """Print on stderr, wrapped; a journal gets each sentence as one line."""
    _tell(text if _is_journal() else wrapped(text, hanging=hanging))


def _is_journal() -> bool:
    """Return whether stderr is systemd's journal, which names that stream in JOURNAL_STREAM (systemd.exec(5))."""
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _tell(text: str) -> None:
    """Write to stderr. A reader that is gone (`| head`, a closed terminal) must not end a switch half-way."""
    try:
        print(printable(text), file=sys.stderr, flush=True)
    except OSError:
        # The interpreter writes the rest of the buffer at its end; that must not fail again.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stderr.fileno())
        os.close(nowhere)


def table(
    columns: Sequence[str],
    rows: Sequence[Mapping[str, object]],
    marks: Sequence[str] | None = None,
    limit: int | None = None,
) -> str:
    """Return rows as aligned text under a heading, with a mark before each; None is shown as `-`.

    Where that is wider than `limit` (default: the terminal), each row is a block: its first column, then the others as
    `name: value`.
    """
    lines = aligned(columns, rows, marks)
    room = width() if limit is None else limit
    if longest(lines) <= room:
        return "\n".join(lines)
    before = [""] * len(rows) if marks is None else [f"{mark} " for mark in marks]
    names = [f"{mark}{row[columns[0]]}" for mark, row in pairs(before, rows)]
    size = max(map(len, names))
    return "\n".join(
        _block(name, size, fields({key: row[key] for key in columns[1:]}), room) for name, row in pairs(names, rows)
    )


def aligned(
    columns: Sequence[str], rows: Sequence[Mapping[str, object]], marks: Sequence[str] | None = None
) -> list[str]:
    """Return the lines of a table, in the width that they need."""
    cells = [tuple(columns), *(tuple("-" if row[key] is None else str(row[key]) for key in columns) for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    text = ["  ".join(cell.ljust(size) for cell, size in pairs(line, widths)) for line in cells]
    before = [""] * len(text) if marks is None else ["  ", *(f"{mark} " for mark in marks)]
    return [f"{mark}{line}".rstrip() for mark, line in pairs(before, text)]


def longest(lines: Sequence[str]) -> int:
    """Return the length of the longest line."""
    return max(map(len, lines), default=0)


def fields(row: Mapping[str, object]) -> list[str]:
    """Return a row's cells as `name: value`, without the empty ones."""
    return [f"{name}: {value}" for name, value in row.items() if value not in (None, "", "-")]


def packed(parts: Sequence[str], columns: int, indent: str = "") -> str:
    """Return parts side by side, as many on a line as fit; a longer part is wrapped."""
    found: list[str] = []
    for part in parts:
        if found and len(found[-1]) + len(_GAP) + len(part) <= columns:
            found[-1] += _GAP + part
        else:
            found.append(indent + part)
    return wrapped("\n".join(found), columns)


def _block(name: str, name_characters: int, parts: Sequence[str], columns: int) -> str:
    """Return a row as a block: its name, and its parts beside or, where names are long, below it."""
    if name_characters > _NAME_CHARACTERS:
        return "\n".join([name, *([packed(parts, columns, "    ")] if parts else [])])
    body = packed(parts, columns, " " * (name_characters + len(_GAP)))
    return (name.ljust(name_characters) + body[name_characters:]).rstrip()


def refuse(error: RoundhouseError, *, as_json: bool) -> int:
    """Print the error, or with --json one object on stdout, and return the exit status."""
    if as_json:
        print(json.dumps({"schema": SCHEMA, "ok": False, "errors": [error.as_json()]}))
    else:
        say(error.message)
    return 130 if error.code == "interrupted" else error.exit_code
