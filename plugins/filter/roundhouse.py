"""Jinja filters of Roundhouse: shims over scripts/roundhouse."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
from roundhouse import decision, lock, models_lock, outcomes, plan_text, planner, quantised, roster
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


def plan(
    agents: Any, facts: Any = None, gpu_memory_gb: float | None = None, again: bool = False, **settings: Any
) -> dict[str, Any]:
    """Return the plan of a host; `facts` are what roundhouse_plan_facts returned, None before it ran."""
    host = decision.host_of(facts, gpu_memory_gb, again)
    return planner.build(agents, planner.Settings(**settings), host)


class FilterModule:
    """What playbooks ask of the package."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "roundhouse_problems": problems,
            "roundhouse_plan": _plain(plan),
            "roundhouse_engine_path": _plain(lock.engine_path),
            "roundhouse_outcomes": outcomes.text,
            "roundhouse_outcome_rows": outcomes.rows,
            "roundhouse_switched": outcomes.changed,
            "roundhouse_switch_problem": outcomes.problem,
            "roundhouse_plan_text": plan_text.text,
            "roundhouse_locked": _plain(lambda agents, path: models_lock.apply(agents, Path(path))),
            "roundhouse_wishes": _plain(lambda agents, path: models_lock.wishes(agents, Path(path))),
            "roundhouse_quantisations": quantised.wishes,
            "roundhouse_quantise_path": _plain(lock.quantise_path),
            "roundhouse_quantise_lock": lambda accelerator: str(lock.lock_file(accelerator, what="quantise")),
            "roundhouse_engine_lock": lambda accelerator: str(lock.lock_file(accelerator)),
        }
