"""A reason to refuse an action on a host."""

from __future__ import annotations

from typing import NamedTuple


class Problem(NamedTuple):
    """A reason to refuse: the statement of what fails, the value that is wrong, and what to do."""

    what: str
    value: str
    remedy: str

    @property
    def text(self) -> str:
        """Return the problem as one sentence."""
        return f"{self.what}: {self.remedy}."
