#!/usr/bin/env python3
"""Compare the users' migration guide with docs/reference/migration.md, line by line: `docs/guide.py GUIDE`.

It prints each part of the guide with the verdict of its rows. It exits 1 if a part has neither a row nor a reason. It
also exits 1 if no row of a line names one of its variables, options, programs or models. tests/fixtures/guide.json has
what is known of the guide here.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
GUIDE: dict[str, Any] = json.loads((ROOT / "tests/fixtures/guide.json").read_text())
LINES: list[Any] = GUIDE["lines"]
DOCUMENT = (ROOT / "docs/reference/migration.md").read_text()
# The rows of the guide's tables have three cells; what `import` prints has four, what becomes of Ollama's two.
ROWS = [row for line in DOCUMENT.splitlines() if len(row := re.split(r"(?<!\\) \| ", line.strip("| "))) == 3]
RULED = [row for row in ROWS if row[0] not in ("the guide", "---|---|---")]
# What a row has to name: variables, options, the guide's programs, models.
NAMES = re.compile(r"\b(?:VLLM|CUDA)_[A-Z_]+|(?<!\S)--[a-z][a-z-]+|\b\w+_(?:manager|vllm)\.py|Qwen/[\w.-]+")
MARGIN = 9


def rows_of(key: str) -> list[list[str]]:
    """Return the rows that a key means: those with it in their first cell; a good key has one."""
    return [row for row in RULED if key in row[0]]


def reason_of(keys: list[str]) -> str | None:
    """Return why a part of the guide needs no row, None where it has keys of rows."""
    return keys[0][1:] if keys[0].startswith("-") and not keys[0].startswith("--") else None


def main(arguments: list[str]) -> int:
    """Print the verdicts, and return 1 where something has no row, 2 where there is no guide to read."""
    if len(arguments) != 1:
        print("write the guide's file: docs/guide.py GUIDE", file=sys.stderr)
        return 2
    (file,) = arguments
    try:
        text = Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        print(f"{file} cannot be read ({error}): docs/guide.py GUIDE", file=sys.stderr)
        return 2
    if hashlib.sha256(text.encode()).hexdigest() != GUIDE["sha256"]:
        print(f"{file} is not the text that tests/fixtures/guide.json describes: its SHA-256 differs.", file=sys.stderr)
        return 1
    guide, missed = text.splitlines(), 0
    for first, last, *keys in LINES:
        rows = [row for key in keys for row in rows_of(key)]
        told = reason_of(keys) or ", ".join(f"{verdict}: {cell}" for cell, verdict, _ in rows)
        print(f"{f'{first}-{last}':<{MARGIN}}{told}")
        for key in [] if reason_of(keys) else [key for key in keys if len(rows_of(key)) != 1]:
            print(f"{'':<{MARGIN}}NO ROW: {key}")
            missed += 1
        named = {name for line in guide[first - 1 : last] for name in NAMES.findall(line)}
        for name in sorted(named - {name for name in named if any(name in row[0] for row in rows)}):
            print(f"{'':<{MARGIN}}NO ROW NAMES {name}")
            missed += 1
    print(f"{len(guide)} lines, {len(RULED)} rows, {missed} parts or names without one")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
