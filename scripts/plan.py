#!/usr/bin/env python3
"""Say what fits which card before anything is downloaded. See `scripts/plan.py --help`."""

from roundhouse.plan_cli import main

if __name__ == "__main__":
    raise SystemExit(main())
