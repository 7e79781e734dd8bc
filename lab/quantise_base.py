#!/usr/bin/env python3
"""Train a tiny Qwen2 as a base to quantise, on plain text: so that its perplexity on other text means something.

quantise_base.py FOLDER [STEPS]       with the Python of the engine's environment

The text is the calibration half of what the gate judges by, and the words of the standard library's own
documentation strings; the held-out half is in neither.
"""

from __future__ import annotations

import ast
import random
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "scripts"))
from models import BLOCK, make_tokenizer, train, write

from roundhouse import texts

STEPS = 900  # a minute and a half on two cores


def documentation() -> list[str]:
    """Return the longer documentation strings of the standard library."""
    found = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                found.append(" ".join((ast.get_docstring(node) or "").split()))
    return [text for text in dict.fromkeys(found) if len(text) >= texts.SHORTEST]


def windows(paragraphs: list[str], tokenizer) -> Callable[[], list[int]]:
    """Return what draws a training sequence: BLOCK tokens from anywhere in the text."""
    rng = random.Random(0)
    rng.shuffle(paragraphs)
    ids = tokenizer.encode("\n".join(paragraphs))

    def draw() -> list[int]:
        begin = rng.randrange(len(ids) - BLOCK)
        return ids[begin : begin + BLOCK]

    return draw


def main() -> None:
    """Train it and write it."""
    folder, steps = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else STEPS
    judged_by = texts.read(None)
    paragraphs = judged_by.calibration + [text for text in documentation() if text not in set(judged_by.held_out)]
    tokenizer = make_tokenizer(paragraphs)
    folder.parent.mkdir(parents=True, exist_ok=True)
    write(train(windows(paragraphs, tokenizer), tokenizer, steps), tokenizer, folder)


if __name__ == "__main__":
    main()
