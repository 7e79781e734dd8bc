#!/usr/bin/env python3
"""Put one agent on the GPU: `scripts/switch.py dev`. See `scripts/switch.py --help`."""

from roundhouse.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
