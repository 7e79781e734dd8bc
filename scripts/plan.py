#!/usr/bin/env python3
"""Compute what fits which card before a download. See `scripts/plan.py --help`."""

import sys
from pathlib import Path

# A checkout needs no installation; a host has the package beside this file.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
from roundhouse.cli.plan import main

if __name__ == "__main__":
    raise SystemExit(main())
