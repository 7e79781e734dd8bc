"""What both commands print alike: their help, and the end of one that was refused."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import NoReturn

from .errors import RoundhouseError, UsageError

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


def refuse(error: RoundhouseError, *, as_json: bool) -> int:
    """Print the sentence, or with --json one object on stdout, and return the exit status."""
    if as_json:
        problem = {"stage": error.stage, "message": error.message}
        print(json.dumps({"schema": SCHEMA, "ok": False, "errors": [problem]}))
    else:
        print(error.message, file=sys.stderr)
    return 130 if error.stage == "interrupted" else error.exit_code
