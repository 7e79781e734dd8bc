#!/usr/bin/env python3
"""Accept the users' old words for the command: `scripts/agent_manager.py --launch po`. See `--help`.

Each is one word of `scripts/switch.py`, and other arguments are passed on to it (`--json`, `--on HOST`, `-f`).
"""

import sys
from pathlib import Path

# A checkout needs no installation; a host has the package beside this file.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
from roundhouse.cli.agent_manager import main

if __name__ == "__main__":
    raise SystemExit(main())
