#!/usr/bin/env python3
"""The users' old words for the command: `scripts/agent_manager.py --launch po`. See `--help`.

Each is one word of `scripts/switch.py`, and whatever else is said is handed on to it (`--json`, `--on HOST`, `-f`).
"""

from roundhouse.manager_cli import main

if __name__ == "__main__":
    raise SystemExit(main())
