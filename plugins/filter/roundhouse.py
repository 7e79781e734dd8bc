"""Jinja filters of Roundhouse: shims over scripts/roundhouse."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
from roundhouse import lock, models_lock, plan, roster
from roundhouse.errors import RoundhouseError


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """Hand an error on as its sentence alone."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except RoundhouseError as error:
            raise AnsibleFilterError(error.message) from None

    return wrapped


def problems(agents: Any) -> list[str]:
    """Return a sentence for each thing in the roster that cannot be meant."""
    return list(roster.problems(agents))


class FilterModule:
    """What playbooks ask of the package."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "roundhouse_problems": problems,
            "roundhouse_locked": _plain(lambda agents, path: models_lock.apply(agents, Path(path))),
            "roundhouse_wishes": _plain(lambda agents, path: models_lock.wishes(agents, Path(path))),
            "roundhouse_plan": _plain(plan.build),
            "roundhouse_engine_path": _plain(lock.engine_path),
            "roundhouse_quantise_path": _plain(lock.quantise_path),
            "roundhouse_quantise_lock": lambda accelerator: str(lock.lock_file(accelerator, what="quantise")),
            "roundhouse_summary": plan.summary,
            "roundhouse_engine_lock": lambda accelerator: str(lock.lock_file(accelerator)),
        }
