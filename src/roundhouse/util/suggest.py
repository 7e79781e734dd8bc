"""Suggest a known word for a misspelt one."""

from __future__ import annotations

from collections.abc import Iterable

# Old spellings of commands and settings, and the new ones.
RENAMED = {"quantise": "quantize"}
RENAMED_OPTIONS = {"--no-way-back": "--no-rollback"}
# difflib's ratio for two swapped letters in a word of four. Only words with the same first letter are compared.
_CUTOFF = 0.75


def near(word: str, known: Iterable[str]) -> str | None:
    """Return the closest known word (dev for "devv"), None if there is no close one."""
    import difflib  # only for a misspelt word

    alike = [each for each in known if each[:1] == word[:1]]
    return next(iter(difflib.get_close_matches(word, alike, n=1, cutoff=_CUTOFF)), None)


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return "Did you mean dev?" for "devv", or `otherwise` if there is no close word."""
    found = near(word, known)
    return f"Did you mean {found}?" if found else otherwise
