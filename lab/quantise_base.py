#!/usr/bin/env python3
"""Train a tiny Qwen2 as a base to quantise, on the calibration half of the texts: so the other half means something.

quantise_base.py FOLDER [SECONDS]       with the Python of the engine's environment
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "scripts"))
from models import make_tokenizer, train, write

from roundhouse import texts


def main() -> None:
    """Train it and write it."""
    folder, seconds = Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 60.0
    paragraphs = texts.read(None).calibration
    tokenizer = make_tokenizer(paragraphs)
    folder.parent.mkdir(parents=True, exist_ok=True)
    write(train(paragraphs, tokenizer, seconds), tokenizer, folder)


if __name__ == "__main__":
    main()
