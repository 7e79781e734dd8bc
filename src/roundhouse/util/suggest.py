"""Suggest a known word for a misspelt one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# Old spellings of commands and settings, and the new ones.
RENAMED = {"quantise": "quantize"}
RENAMED_OPTIONS = {"--no-way-back": "--no-rollback"}
# Of difflib's ratio: two letters of four that changed places. Only words with the same first letter are near.
_CUTOFF = 0.75


def near(word: str, known: Iterable[str]) -> str | None:
    """Return dev for "devv", and None where nothing is near."""
    alike = [each for each in known if each[:1] == word[:1]]
    return next(iter(difflib.get_close_matches(word, alike, n=1, cutoff=_CUTOFF)), None)


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return "Did you mean dev?" for "devv", and `otherwise` where nothing is near."""
    found = near(word, known)
    return f"Did you mean {found}?" if found else otherwise
