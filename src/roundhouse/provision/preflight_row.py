"""Provide the row of the preflight table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Row(NamedTuple):
    """One checked part of the host: the finding, with problems (which end the run) and warnings.

    Driver, container engine and toolkit have an `action` (skip, keep, install, upgrade or refuse) and its `reason`; the
    reasons of a refusal are the problems.
    """

    component: str
    found: str
    problems: Sequence[str] = ()
    warnings: Sequence[str] = ()
    action: str = ""
    reason: str = ""

    def as_json(self) -> dict[str, object]:
        """Return the row as a JSON object; a row with a problem has the action refuse."""
        return {**self._asdict(), "action": "refuse" if self.problems else self.action}
