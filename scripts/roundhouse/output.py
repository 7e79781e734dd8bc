"""What both commands print alike: their help, and the end of one that was refused."""

from __future__ import annotations

import argparse
import json
import os
import sys

from .errors import RoundhouseError

SCHEMA = 1


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
