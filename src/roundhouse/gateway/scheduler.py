"""Who is to have a card when requests ask for agents that are not loaded. No clock, no socket: it is told, and decides.

The rules, with which a request's wait is bounded however many ask (`longest_wait_seconds`):

- An agent keeps its card for at least `min_active_seconds`.
- After that it leaves as soon as nothing runs on it, and also while it works once a request of another has waited for
  `max_wait_seconds`.
- The agent whose request waits longest is next; its waiting requests are served together.
- Who is pinned is not displaced, and who failed to start is not tried again for a while.
- An agent that nobody has used for `idle_seconds` leaves to the default agent of its card, or frees it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

# So long without a request is nothing that runs: a client that asks one thing after another is not gone in between.
QUIET_SECONDS = 1.0
# An agent that failed to start cost the one before an outage.
AFTER_FAILURE_SECONDS = 60.0


class Settings(NamedTuple):
    """gateway_... of the role."""

    min_active_seconds: float
    max_wait_seconds: float
    idle_seconds: float  # 0 is never
    default_agents: tuple[str, ...]
    pinned: tuple[str, ...]


class Load(NamedTuple):
    """What the gateway has of one agent."""

    waiting: int = 0
    oldest_seconds: float = 0.0  # how long the first of those has waited
    running: int = 0
    total: int = 0  # requests so far


class Decision(NamedTuple):
    """Bring an agent, or with `free` let one leave and nobody come."""

    agent: str
    why: str
    free: bool = False


class Scheduler:
    """What was seen so far. All times are seconds of one clock that never goes back."""

    def __init__(self, settings: Settings, conflicts: Mapping[str, list[str]], every_seconds: float) -> None:
        self._settings, self._conflicts, self._every = settings, conflicts, every_seconds
        self._since: dict[str, float] = {}  # agents that are loaded
        self._used: dict[str, float] = {}
        self._total: dict[str, int] = {}
        self._failed: dict[str, float] = {}

    def see(self, now: float, loaded: Mapping[str, float], loads: Mapping[str, Load]) -> None:
        """Take in who is loaded, each with the time from which on that counts, and what the gateway has."""
        self._since = {name: self._since.get(name, at) for name, at in loaded.items()}
        for name, load in loads.items():
            if load.running or load.waiting or load.total != self._total.get(name, load.total):
                self._used[name] = now
            self._total[name] = load.total

    def failed(self, agent: str, now: float) -> None:
        """Take in that an agent could not be brought: who came back for it has its time anew."""
        self._failed[agent] = now
        self._since |= dict.fromkeys(self._rivals(agent), now)

    def may_ask(self, now: float) -> list[str]:
        """Return the agents whose requests are worth keeping."""
        return [name for name in self._conflicts if self._may_come(name, now)]

    def decide(self, now: float, loads: Mapping[str, Load]) -> Decision | None:
        """Return what to do now."""
        waiting = sorted((each for each in loads if loads[each].waiting), key=lambda each: -loads[each].oldest_seconds)
        before: set[str] = set()  # who waits longer, and is not to be overtaken on a card
        for name in waiting:
            if name in self._since or not self._may_come(name, now):
                continue
            rivals = self._rivals(name)
            oldest = loads[name].oldest_seconds
            if not before & set(self._conflicts[name]) and all(self._leaves(each, now, oldest) for each in rivals):
                return Decision(name, f"{loads[name].waiting} wait, the first since {oldest:.1f} s")
            before.add(name)
        return self._after_idling(now, waiting)

    def _may_come(self, name: str, now: float) -> bool:
        if now - self._failed.get(name, now - AFTER_FAILURE_SECONDS) < AFTER_FAILURE_SECONDS:
            return False
        return not any(each in self._settings.pinned for each in self._rivals(name))

    def _rivals(self, name: str) -> list[str]:
        return [each for each in self._conflicts[name] if each in self._since]

    def _leaves(self, name: str, now: float, oldest: float) -> bool:
        if now - self._since[name] < self._settings.min_active_seconds:
            return False
        quiet = now - self._used.get(name, self._since[name]) >= QUIET_SECONDS
        return quiet or oldest >= self._settings.max_wait_seconds - self._every

    def _after_idling(self, now: float, waiting: list[str]) -> Decision | None:
        settings = self._settings
        for name, since in self._since.items():
            idle = now - max(since, self._used.get(name, since))
            if not settings.idle_seconds or idle < max(settings.idle_seconds, settings.min_active_seconds):
                continue
            if name in (*settings.pinned, *settings.default_agents) or {name, *self._conflicts[name]} & {*waiting}:
                continue
            why = f"nobody has used {name} for {idle:.0f} s"
            default = [each for each in settings.default_agents if each in self._conflicts[name]]
            if not default:
                return Decision(name, why, free=True)
            if self._may_come(default[0], now):
                return Decision(default[0], why)
        return None


def longest_wait_seconds(settings: Settings, agents: int, switch_seconds: float) -> float:
    """Return how long a request may wait on a card of so many agents, when a switch takes so long.

    While one agent keeps the card, `max_wait_seconds`, or the turn of one that was just on its way when it came; then
    each of the others may have its turn before, as short as it can be; then its own switch.
    """
    turn = settings.min_active_seconds + switch_seconds
    return max(settings.max_wait_seconds, turn) + max(0, agents - 2) * turn + switch_seconds


def most_switches(settings: Settings, seconds: float) -> int:
    """Return how many switches there may be in that time: one at once, and one each time that an agent had its own."""
    return 1 + int(seconds // settings.min_active_seconds)
