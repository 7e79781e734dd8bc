"""Derive from units, journal and disk what the gateway announces for each agent.

Every command, the units' hooks, a boot and the control service use this. So each of them corrects what a killed one
left behind. The words are those of roles/gateway/files/hold.lua.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from ..errors import RoundhouseError
from ..host import systemd
from ..state import serving, start_phases, switch_journal
from . import on_demand

if TYPE_CHECKING:  # absolute, so that Ansible does not ship them with modules
    from roundhouse.schema.plan import Agent, Plan


# The assumed length of an agent's first start; for Retry-After alone.
_START_SECONDS = 60
_UP = ("ready", "starting", "draining")


class Seen(NamedTuple):
    """The state of the host at one moment."""

    units: dict[str, systemd.Unit]  # by agent, without those that systemd does not know.
    switching: set[str]  # agents of a switch that runs or was killed.
    serving: list[str]  # on record, newest first.
    stopped: list[str]  # by `roundhouse stop`.
    offers: on_demand.Offers

    def state(self, name: str) -> str | None:
        """Return the state of an agent's unit; "starting" also while its start waits; None if it is not known."""
        unit = self.units.get(name)
        if unit is None:
            return None
        waits = unit.state not in _UP and (unit.pending or unit.restarting)
        return "starting" if waits else unit.state


def routes(plan: Plan, held: Collection[str] = ()) -> dict[str, str]:
    """Return the route of each agent; the requests of `held` agents wait, because their restart is about to begin."""
    seen = observe(plan)
    return {agent["name"]: _route(agent, seen, held) for agent in plan["agents"]}


def observe(plan: Plan) -> Seen:
    """Return what the routes follow from."""
    running = serving.is_switching()
    try:
        shown = systemd.show_all([agent["unit"] for agent in plan["agents"]])
    except RoundhouseError:  # without systemd, the record alone decides
        shown = []
    named = zip((agent["name"] for agent in plan["agents"]), shown)
    units = {name: unit for name, unit in named if isinstance(unit, systemd.Unit)}
    ready = {name for name, unit in units.items() if unit.state == "ready"}
    begun = {name for name, unit in units.items() if unit.state in ("ready", "starting") or unit.restarting}
    return Seen(
        units=units,
        switching=_switching(set() if running else ready),
        serving=_recorded(),
        # A killed stop leaves its note of an agent that stays active, and that systemd restarts after a crash.
        stopped=[name for name in serving.stopped() if running or name not in begun],
        offers=on_demand.offers(),
    )


def unrecorded(plan: Plan) -> list[str]:
    """Return the ready agents that are not on record, or only behind a rival: the disk refused their record.

    A reboot would start another agent. Only for a moment in which no switch runs.
    """
    seen = observe(plan)
    ready = [agent for agent in plan["agents"] if seen.state(agent["name"]) == "ready"]
    return [agent["name"] for agent in ready if not _is_newest(agent, seen)]


def _is_newest(agent: Agent, seen: Seen) -> bool:
    """Return whether an agent is on record, and none of its rivals before it."""
    if agent["name"] not in seen.serving:
        return False
    newer = seen.serving[: seen.serving.index(agent["name"])]
    return not any(rival in newer for rival in agent["conflicts"])


def _switching(ready: set[str]) -> set[str]:
    """Return the agents whose requests wait for a switch: the new one, and the previous ones that are not `ready`.

    The new agent has not answered its canary yet. A previous one is draining or may be restored. After a kill, a
    previous agent that is ready gets requests; the recovery decides on the new one.
    """
    killed = switch_journal.killed()
    return {killed.to, *(name for name in killed.previous if name not in ready)} if killed else set()


def _recorded() -> list[str]:
    try:
        return serving.serving()
    except RoundhouseError:  # the next switch replaces the file and reports it
        return []


def _route(agent: Agent, seen: Seen, held: Collection[str]) -> str:
    name, offers = agent["name"], seen.offers
    waits = name in seen.switching or name in held
    active = not waits and _is_active(agent, seen)
    if not waits and not active and name in offers.retries:
        return f"failed:{offers.retries[name]}"
    states = {"wait": waits, "on": active, "ask": name in offers.asks, "pinned": name in offers.pinned_out}
    state = next((state for state, applies in states.items() if applies), "off")
    return f"{state}:{_start_seconds(agent)}"


def _is_active(agent: Agent, seen: Seen) -> bool:
    """Return whether an agent gets requests: it is ready, or on record and neither replaced nor given up."""
    name = agent["name"]
    state = seen.state(name)
    if name in seen.stopped:
        return False
    if state == "ready":
        return True
    if name not in seen.serving or state == "failed":
        return False
    if state in _UP:
        return True
    return _is_newest(agent, seen) and not any(seen.state(rival) in _UP for rival in agent["conflicts"])


def _start_seconds(agent: Agent) -> int:
    known = start_phases.known(agent)
    return 1 + round(known.seconds) if known else _START_SECONDS
