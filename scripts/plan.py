#!/usr/bin/env python3
"""Say what fits which card before anything is downloaded. See `scripts/plan.py --help`."""

import os
import sys

from roundhouse.plan_cli import main

if __name__ == "__main__":
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    raise SystemExit(status)
