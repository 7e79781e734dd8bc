"""Provide disjoint texts for calibration and for evaluation.

The source is the user's file: one text per line, or JSON lines with "text". The default is Python's language reference,
which is part of every Python under the PSF licence. A text's hash decides which of the two parts it belongs to.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from pathlib import Path
from typing import NamedTuple

from ..errors import UsageError

SHORTEST = 120  # characters: shorter texts are headings
FEWEST = 8


class Texts(NamedTuple):
    """Texts for calibration and for evaluation (`held_out`). `sha256` covers both, for the model card."""

    calibration: list[str]
    held_out: list[str]
    source: str
    sha256: str


def read(path: Path | None) -> Texts:
    """Return the texts of a file, or of Python's language reference without one. Raises UsageError."""
    if path is None:
        topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
        found = [" ".join(part.split()) for name in sorted(topics) for part in topics[name].split("\n\n")]
        return _split([text for text in found if len(text) >= SHORTEST], "Python's language reference (PSF licence)")
    try:
        found = [_line(line) for line in path.read_text().splitlines() if line.strip()]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            "calibration_unreadable",
            "--calibration {path} cannot be read ({reason}).",
            "Write one text per line, or JSON lines with text.",
            path=str(path),
            reason=str(error),
        ) from None
    texts = _split(found, path.name)
    if min(len(texts.calibration), len(texts.held_out)) < FEWEST:
        raise UsageError(
            "calibration_too_short",
            "--calibration {path} has only {available} texts.",
            "Write at least {least} texts, one per line.",
            path=str(path),
            available=len(found),
            least=4 * FEWEST,
        )
    return texts


def _line(line: str) -> str:
    return str(json.loads(line)["text"]) if line.startswith("{") else line


def _split(found: list[str], source: str) -> Texts:
    hashed = sorted((hashlib.sha256(text.encode()).hexdigest(), text) for text in set(found))
    # One text in four is held out for the evaluation.
    held_out = [text for digest, text in hashed if digest[0] in "0123"]
    calibration = [text for digest, text in hashed if digest[0] not in "0123"]
    return Texts(calibration, held_out, source, hashlib.sha256("\0".join(d for d, _ in hashed).encode()).hexdigest())
