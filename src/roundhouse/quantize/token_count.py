"""Count the tokens of texts with the base's own tokenizer, on a Python that has the library for it.

    python -m roundhouse.quantize.token_count BASE      stdin: {"part": [texts]}, stdout: {"part": tokens}

It loads neither weights nor PyTorch, so that texts that are too short are refused within a second and not after hours.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path


def main() -> int:
    """Count the tokens of each part, print them as JSON and return 0."""
    encode = _encoder(Path(sys.argv[1]))
    counted = {name: sum(len(encode(text)) for text in texts) for name, texts in json.load(sys.stdin).items()}
    json.dump(counted, sys.stdout)
    return 0


def _encoder(base: Path) -> Callable[[str], list[int]]:
    if (base / "tokenizer.json").exists():
        tokenizer = importlib.import_module("tokenizers").Tokenizer.from_file(str(base / "tokenizer.json"))
        return lambda text: tokenizer.encode(text, add_special_tokens=False).ids
    found = importlib.import_module("transformers").AutoTokenizer.from_pretrained(base, local_files_only=True)
    return lambda text: found.encode(text, add_special_tokens=False)


if __name__ == "__main__":
    raise SystemExit(main())
