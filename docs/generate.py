#!/usr/bin/env python3
"""Write the output of commands into the documents: `docs/generate.py`; --check only reports the outdated files.

The text between `<!-- $ COMMAND -->` and `<!-- /$ -->` in a document is COMMAND's output, run in the repository's root.
The files of the clients in examples/ are written too (example_files.py). A test runs the check.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import example_files

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"(<!-- \$ (?P<command>.+?) -->\n).*?(<!-- /\$ -->)", re.DOTALL)
DOCUMENTS = ("README.md", *sorted(str(file.relative_to(ROOT)) for file in (ROOT / "docs").rglob("*.md")))


def main() -> int:
    """Write or check the files, and return the exit status."""
    made = {ROOT / name: BLOCK.sub(_block, (ROOT / name).read_text()) for name in DOCUMENTS}
    made |= dict(example_files.made())
    old = []
    for file, text in made.items():
        if not file.exists() or file.read_text() != text:
            old.append(str(file.relative_to(ROOT)))
            if "--check" not in sys.argv:
                file.parent.mkdir(exist_ok=True)
                file.write_text(text)
    if old:
        print(f"{'old' if '--check' in sys.argv else 'written'}: {', '.join(old)}")
    return 1 if old and "--check" in sys.argv else 0


def _block(match: re.Match[str]) -> str:
    return f"{match[1]}{_shown(match['command'])}{match[3]}"


@cache
def _shown(command: str) -> str:
    """Return the output of a command as Markdown."""
    words = shlex.split(command)
    # The width does not depend on this terminal.
    wide = os.environ | {"COLUMNS": "100"}
    done = subprocess.run([sys.executable, *words], cwd=ROOT, env=wide, capture_output=True, text=True, check=False)
    if done.stderr:
        raise SystemExit(f"{command}: {done.stderr.strip()}")
    # Markdown is shown as it is, anything else as it looks in a terminal.
    return done.stdout if done.stdout.startswith(("|", "## ", "```")) else f"```text\n{done.stdout}```\n"


if __name__ == "__main__":
    raise SystemExit(main())
