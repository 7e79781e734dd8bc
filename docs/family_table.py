#!/usr/bin/env python3
"""Print the models whose fit is known without a download, in Markdown: `docs/family_table.py`."""

from __future__ import annotations

import re
from collections import defaultdict

import markdown_table

from roundhouse.catalog import model_families

# A size, as 7B, 0.5B or 30B-A3B.
SIZE = re.compile(r"-(\d[\d.]*[Bb](?:-A\d+B)?)(?=-|$)")


def main() -> None:
    """Print a row for each family: its sizes, and the formats that its repositories have."""
    sizes: dict[str, dict[str, None]] = defaultdict(dict)
    formats: dict[str, dict[str, None]] = defaultdict(dict)
    for repo in model_families.known():
        found = model_families.find(repo)
        if found is None:
            continue
        size = SIZE.search(repo)
        family = repo[: size.start()] if size else repo
        sizes[family][size[1] if size else found.architecture.name.rpartition("-")[2]] = None
        formats[family][found.form.name] = None
    rows = [
        (f"`{family}`", ", ".join(sorted(sizes[family], key=_parameters)), ", ".join(formats[family]))
        for family in sizes
    ]
    print(markdown_table.lines(("family", "sizes", "formats"), rows))


def _parameters(size: str) -> float:
    found = re.match(r"[\d.]+", size)
    return float(found[0]) if found else 0.0


if __name__ == "__main__":
    main()
