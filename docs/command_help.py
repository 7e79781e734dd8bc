#!/usr/bin/env python3
"""Print the help of each command, for docs/reference/command.md: `docs/command_help.py`."""

from __future__ import annotations

from roundhouse.cli import command, manual
from roundhouse.util import console


def main() -> None:
    """Print it."""
    print("\n\n".join(console.help_text(manual.of_command(name, "roundhouse")).rstrip() for name in command.NAMES))


if __name__ == "__main__":
    main()
