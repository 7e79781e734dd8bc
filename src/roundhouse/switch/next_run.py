"""Compare two plans, and describe the next run of `site.yml` after a rollback."""

from __future__ import annotations

from pathlib import Path

from ..errors import RoundhouseError
from ..models import prune
from ..plan import plan_sets
from ..plan.plan_sets import PlanSet
from ..schema.plan import Agent, Plan, RoleDefaults

_OF_THE_PLAN = ("runtime", "accelerator")
_OF_AN_AGENT = ("model", "revision", "draft_model", "port")
_NAMED = 3  # differences that a sentence names


def after_rollback(in_place: PlanSet, replaced: PlanSet | None) -> str | None:
    """Return sentence() after a rollback from `replaced`; None if the last `site.yml` made the plan in place."""
    if replaced is None or replaced.name == in_place.name:
        return None
    staged = [found.name for path in sorted(prune.STAGED.glob("*/plan.json")) if (found := _read(path.parent))]
    made_last = in_place.name in staged and replaced.name not in staged
    return None if made_last else sentence(in_place, replaced)


def _read(folder: Path) -> PlanSet | None:
    try:
        return plan_sets.read(folder)
    except RoundhouseError:  # a play that failed left it incomplete
        return None


def sentence(in_place: PlanSet, inventory: PlanSet) -> str:
    """Return the effect of the next `site.yml`, while the inventory describes another plan than the one in place."""
    found = differences(inventory.plan, in_place.plan)
    named = "; ".join(found[:_NAMED]) + (f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else "")
    text = f"The inventory still describes the plan {inventory.name}: the next `ansible-playbook site.yml` deploys it."
    return f"{text} To keep the plan {in_place.name}, change the inventory before that ({named or _UNNAMED})."


_UNNAMED = "the settings that were changed last, or the pins of the versions"


def differences(before: Plan, after: Plan) -> list[str]:
    """Return a sentence for each difference between two plans."""
    found = [_other(name, before.get(name), after.get(name)) for name in _OF_THE_PLAN]
    found.append(_other("engine", plan_sets.engine(before), plan_sets.engine(after)))
    old = {agent["name"]: agent for agent in before["agents"]}
    new = {agent["name"]: agent for agent in after["agents"]}
    found += [f"{name} is no longer in the roster" for name in old if name not in new]
    for name, agent in new.items():
        if name not in old:
            found.append(f"{name} is new: {agent['model']}")
            continue
        found += [_other(f"{name}: {key}", old[name].get(key), agent.get(key)) for key in _OF_AN_AGENT]
        flat = [_role(old[name]), _role(agent)]
        found += [_other(f"{name}: {key}", flat[0].get(key), flat[1].get(key)) for key in {**flat[0], **flat[1]}]
        had, has = old[name].get("config") or {}, agent.get("config") or {}
        keys = [key for key in {**had, **has} if key not in (*_OF_AN_AGENT, "speculative-config")]
        found += [_other(f"{name}: {key}", had.get(key), has.get(key)) for key in keys]
    return [sentence for sentence in found if sentence]


def _role(agent: Agent) -> dict[str, object]:
    """Return the defaults of an agent's requests by name; those of a plan of an earlier version are in its config."""
    role = agent.get("role_defaults") or RoleDefaults()
    own: dict[str, object] = {name: value for name, value in role.items() if name != "sampling"}
    return {**role.get("sampling", {}), **own}


def _other(what: str, before: object, after: object) -> str | None:
    return None if before == after else f"{what}: {_word(before)} -> {_word(after)}"


def _word(value: object) -> str:
    return "none" if value is None else str(value)
