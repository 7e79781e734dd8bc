#!/usr/bin/env python3
"""Say what fits which card before anything is downloaded. See `scripts/plan.py --help`."""

import os
import sys
from pathlib import Path

# A checkout needs no installation; a host has the package beside this file.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
from roundhouse.cli.plan import main

if __name__ == "__main__":
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    raise SystemExit(status)
