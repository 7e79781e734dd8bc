#!/usr/bin/env python3
"""Print the files of a client for the shipped roster on an RTX 5060 Ti 16GB: `docs/client_files.py CLIENT`."""

from __future__ import annotations

import sys

import example_files

LANGUAGES = {".json": "json", ".yaml": "yaml", ".yml": "yaml"}


def main(client: str) -> None:
    """Print each file as a block of code with its name."""
    files = [(path, text) for path, text in example_files.made() if path.parent.name == client]
    blocks = [f'```{LANGUAGES[path.suffix]} title="{path.name}"\n{text.rstrip()}\n```' for path, text in files]
    print("\n\n".join(blocks))


if __name__ == "__main__":
    main(sys.argv[1])
