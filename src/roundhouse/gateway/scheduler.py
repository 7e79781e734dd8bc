"""Which agent gets a card when requests ask for agents that are not loaded. Pure: no clock and no socket.

The rules, with which a request's wait is bounded however many ask (molecule/promises.py):

- An agent keeps its card for at least `min_active_seconds`.
- After that it leaves as soon as nothing runs on it, and also while it works once a request of another has waited for
  `max_wait_seconds`.
- The agent whose request waits longest is next; its waiting requests are served together.
- A pinned agent is not displaced, and one that failed to start is not tried again for a while.
- An agent that no request has used for `idle_seconds` leaves to the default agent of its card, or frees it.
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
    """Start an agent, or with `free` stop one and start none."""

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

    def observe(self, now: float, loaded: Mapping[str, float], loads: Mapping[str, Load]) -> None:
        """Take in the loaded agents, each with the time since which that counts, and the gateway's loads."""
        self._since = {name: self._since.get(name, at) for name, at in loaded.items()}
        for name, load in loads.items():
            if load.running or load.waiting or load.total != self._total.get(name, load.total):
                self._used[name] = now
            self._total[name] = load.total

    def failed(self, agent: str, now: float) -> None:
        """Take in that an agent could not be started: the minimum time of its rivals begins again."""
        self._failed[agent] = now
        self._since |= dict.fromkeys(self._rivals(agent), now)

    def startable(self, now: float) -> list[str]:
        """Return the agents whose requests are held."""
        return [name for name in self._conflicts if self._may_start(name, now)]

    def decide(self, now: float, loads: Mapping[str, Load]) -> Decision | None:
        """Return what to do now."""
        waiting = sorted((each for each in loads if loads[each].waiting), key=lambda each: -loads[each].oldest_seconds)
        before: set[str] = set()  # agents whose requests wait longer, and are not overtaken on a card
        for name in waiting:
            if name in self._since or not self._may_start(name, now):
                continue
            rivals = self._rivals(name)
            oldest = loads[name].oldest_seconds
            if not before & set(self._conflicts[name]) and all(self._may_stop(each, now, oldest) for each in rivals):
                return Decision(name, f"{loads[name].waiting} wait, the first since {oldest:.1f} s")
            before.add(name)
        return self._after_idling(now, waiting)

    def _may_start(self, name: str, now: float) -> bool:
        if now - self._failed.get(name, now - AFTER_FAILURE_SECONDS) < AFTER_FAILURE_SECONDS:
            return False
        return not any(each in self._settings.pinned for each in self._rivals(name))

    def _rivals(self, name: str) -> list[str]:
        return [each for each in self._conflicts[name] if each in self._since]

    def _may_stop(self, name: str, now: float, oldest: float) -> bool:
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
            why = f"no request has used {name} for {idle:.0f} s"
            default = [each for each in settings.default_agents if each in self._conflicts[name]]
            if not default:
                return Decision(name, why, free=True)
            if self._may_start(default[0], now):
                return Decision(default[0], why)
        return None
