"""What all commands print alike: help, tables, progress, and the error of one that was refused."""

from __future__ import annotations

import argparse
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
from .suggest import RENAMED_OPTIONS, did_you_mean, near

# Of what --json prints. 2: an error is {"code", "message", "remedy", "fields"}.
SCHEMA = 2


def command_name(script: str = "switch.py", installed: str = "roundhouse") -> str:
    """Return the command as the reader calls it: a checkout's script by its path, else the installed name."""
    return f"scripts/{script}" if Path(sys.argv[0]).parent.name == "scripts" else installed


class Parser(argparse.ArgumentParser):
    """Raises UsageError where argparse would print its usage and exit."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

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
        """Return the first option among the words that the parser does not have, None where it has all of them."""
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
        """Return the option that is near; the hyphens that all options share make none alike."""
        options = [name for name in self.options() if name.startswith("--")]
        if RENAMED_OPTIONS.get(option) in options:
            return RENAMED_OPTIONS[option]
        found = near(option.lstrip("-"), [name[2:] for name in options])
        return found and f"--{found}"

    def options(self) -> list[str]:
        """Return the names of the options that the help shows."""
        return [name for each in self._actions if each.help != argparse.SUPPRESS for name in each.option_strings]

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Raise UsageError for a value that is none of an argument's choices."""
        if action.choices is None or value in action.choices:
            return
        choices = [str(choice) for choice in action.choices]
        name = action.option_strings[-1] if action.option_strings else action.metavar or action.dest.upper()
        remedy = did_you_mean(str(value), choices, "Write one of {choices}.")
        fields = {"name": name, "value": value, "choices": ", ".join(choices)}
        raise UsageError("choice_invalid", "{name} is {value!r}.", remedy, **fields)

    def error(self, message: str) -> NoReturn:
        """Raise argparse's message."""
        raise UsageError(
            "usage", "{message}.", "{program} --help shows what is allowed.", program=self.prog, message=_upper(message)
        )


def _upper(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def help_text(parser: argparse.ArgumentParser) -> str:
    """Return the help as 100 columns wide, whatever the terminal."""
    os.environ["COLUMNS"] = "100"
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


def table(columns: Sequence[str], rows: Sequence[Mapping[str, object]], marks: Sequence[str] | None = None) -> str:
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
