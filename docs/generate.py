#!/usr/bin/env python3
"""Write what commands print into the documents: `docs/generate.py`; with --check only say what is old.

In a document, what stands between `<!-- $ COMMAND -->` and `<!-- /$ -->` is COMMAND's output, run in the repository's
root. The clients' files in examples/ are written too (example_files.py). A test runs the check, so none of them shows
what the program does not.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import example_files

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"(<!-- \$ (?P<command>.+?) -->\n).*?(<!-- /\$ -->)", re.DOTALL)
DOCUMENTS = ("README.md", *sorted(str(file.relative_to(ROOT)) for file in (ROOT / "docs").glob("*.md")))


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
    words = shlex.split(match["command"])
    # As wide as a terminal is, whatever this one is.
    wide = os.environ | {"COLUMNS": "100"}
    done = subprocess.run([sys.executable, *words], cwd=ROOT, env=wide, capture_output=True, text=True, check=False)
    if done.stderr:
        raise SystemExit(f"{match['command']}: {done.stderr.strip()}")
    # A Markdown table is shown as one, anything else as it looks in a terminal.
    shown = done.stdout if done.stdout.startswith("|") else f"```text\n{done.stdout}```\n"
    return f"{match[1]}{shown}{match[3]}"


if __name__ == "__main__":
    raise SystemExit(main())
