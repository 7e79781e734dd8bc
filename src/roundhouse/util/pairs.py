"""Combine two sequences of equal length. Python 3.9 of RHEL 9 has no `zip(strict=True)`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

Left = TypeVar("Left")
Right = TypeVar("Right")


def pairs(left: Iterable[Left], right: Iterable[Right]) -> list[tuple[Left, Right]]:
    """Return the pairs of two sequences. Raises ValueError if their lengths differ."""
    first, second = list(left), list(right)
    if len(first) != len(second):
        raise ValueError(f"the lengths differ: {len(first)} and {len(second)}")
    return list(zip(first, second))
