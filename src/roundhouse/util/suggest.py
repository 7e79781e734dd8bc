"""Suggest a known word for a misspelt one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# Old spellings of commands and settings, and the new ones.
RENAMED = {"quantise": "quantize"}


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return " Did you mean dev?" for "devv", and "" where nothing is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean {near[0]}?" if near else ""
