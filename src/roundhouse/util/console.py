"""What both commands print alike: their help, and the end of one that was refused."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from ..errors import RoundhouseError, UsageError

SCHEMA = 1


class Parser(argparse.ArgumentParser):
    """Raises UsageError where argparse would print its usage: one sentence is asked for, in JSON when --json is."""

    def error(self, message: str) -> NoReturn:
        """Raise the sentence."""
        raise UsageError("usage", f"{message[:1].upper()}{message[1:]}: {self.prog} --help lists what is allowed.")


def help_text(parser: argparse.ArgumentParser) -> str:
    """Return the help as 100 columns wide, whatever the terminal."""
    os.environ["COLUMNS"] = "100"
    return parser.format_help()


def progress() -> Callable[[str], None]:
    """Return what says how far a command is, on stderr: the seconds since now, and a sentence."""
    begun = time.monotonic()
    return lambda text: _tell(f"[{time.monotonic() - begun:5.1f} s] {text}")


def lines() -> Callable[[str], None]:
    """Return what says the same to a journal, which has the time itself."""
    return _tell


def _tell(text: str) -> None:
    """Write to stderr. A reader that is gone (`| head`, a closed terminal) must not end a switch half-way."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        # What is still in the buffer too, which the interpreter writes at its end, then goes nowhere.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stderr.fileno())
        os.close(nowhere)


def table(columns: Sequence[str], rows: list[dict[str, Any]], marks: Sequence[str] | None = None) -> str:
    """Return rows as aligned text under a heading, with a mark before each; None is shown as `-`."""
    cells = [tuple(columns), *(tuple("-" if row[key] is None else str(row[key]) for key in columns) for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]
    before = [""] * len(lines) if marks is None else ["  ", *(f"{mark} " for mark in marks)]
    return "\n".join(f"{mark}{line}".rstrip() for mark, line in zip(before, lines, strict=True))


def refuse(error: RoundhouseError, *, as_json: bool) -> int:
    """Print the sentence, or with --json one object on stdout, and return the exit status."""
    if as_json:
        print(json.dumps({"schema": SCHEMA, "ok": False, "errors": [error.as_json()]}))
    else:
        _tell(error.message)
    return 130 if error.code == "interrupted" else error.exit_code
