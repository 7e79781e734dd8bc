"""Decide which agent gets a card when requests ask for agents that are not loaded. Pure: no clock and no socket.

The rules bound the wait of a request, whatever the number of clients (molecule/promises.py):

- An agent is in use while a request runs or is held on it, and for `in_use_seconds` after its last request ended.
- An agent that is not in use leaves its card at once when a request for another agent waits.
- An agent in use keeps its card for at least `min_active_seconds`. After that it leaves when a request for another
  agent has waited for `max_wait_seconds`.
- The agent with the longest-waiting request is next. All its held requests are answered together.
- A pinned agent is not displaced.
- An agent that failed to start is tried again after 60 s. Each further failure doubles this wait, up to 1 h. The agent
  starts from 60 s again once it was ready, or after a deployment.
- An agent without a request for `idle_seconds` leaves its card to the default agent, or leaves it idle.

Why `in_use_seconds`: an agentic client sends a request, runs a tool and sends the next request. Most tools (read a
file, search, list) end within two seconds. So the agent of a tool loop is in use throughout, and two such clients do
not move the card at every step. A switch costs 10 to 100 s, so 5 s are cheap. A person with a request for one agent
and then for another waits at most 5 s longer. A longer tool, such as a test suite, gives the card away once. The client
then waits in the queue, and the agent of the other client has its minimum time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

# A failed start interrupts the previous agent, so a client that repeats its request must not cause it over and over.
AFTER_FAILURE_SECONDS, MOST_AFTER_FAILURE_SECONDS = 60.0, 3600.0
_MOST_DOUBLINGS = 6  # 60 s become more than 1 h


class Settings(NamedTuple):
    """The role's gateway_... settings."""

    in_use_seconds: float
    min_active_seconds: float
    max_wait_seconds: float
    idle_seconds: float  # 0: never
    default_agents: tuple[str, ...]
    pinned: tuple[str, ...]


def longest_wait_seconds(settings: Settings, agents: int, switch_seconds: float) -> float:
    """Return the longest wait of a request on a card of so many agents, with switches of that length.

    An agent in use keeps the card for `max_wait_seconds`, or for the slot of one whose switch had just begun. Each of
    the other agents may have a shortest slot before the wanted one; its own switch comes last.
    """
    slot = settings.min_active_seconds + switch_seconds
    return max(settings.max_wait_seconds, slot) + max(0, agents - 2) * slot + switch_seconds


class Load(NamedTuple):
    """The requests that the gateway has for one agent."""

    waiting: int = 0
    oldest_seconds: float = 0.0  # the longest wait of those
    running: int = 0
    total: int = 0  # requests since HAProxy started


class Decision(NamedTuple):
    """Start an agent; with `free`, stop it and start none."""

    agent: str
    why: str
    free: bool = False


class Failure(NamedTuple):
    """The failed starts of one agent since it was ready."""

    starts: int
    at: float  # the last one

    @property
    def retry_at(self) -> float:
        """Return the time of the next try."""
        doublings = min(self.starts - 1, _MOST_DOUBLINGS)
        return self.at + min(AFTER_FAILURE_SECONDS * (1 << doublings), MOST_AFTER_FAILURE_SECONDS)


class Scheduler:
    """Keep what was observed, and decide. All times are seconds of one monotonic clock."""

    def __init__(self, settings: Settings, conflicts: Mapping[str, list[str]], every_seconds: float) -> None:
        self._settings, self._conflicts, self._every = settings, conflicts, every_seconds
        self._since: dict[str, float] = {}  # agents that are loaded
        self._used: dict[str, float] = {}
        self._total: dict[str, int] = {}
        self._failed: dict[str, Failure] = {}

    def observe(self, now: float, loaded: Mapping[str, float], loads: Mapping[str, Load]) -> None:
        """Record the loaded agents, each with the time of its start, and the gateway's loads."""
        self._since = {name: self._since.get(name, at) for name, at in loaded.items()}
        for name, load in loads.items():
            if load.running or load.waiting or load.total != self._total.get(name, load.total):
                self._used[name] = now
            self._total[name] = load.total

    def failed(self, agent: str, now: float) -> None:
        """Record that an agent failed to start. The minimum time of its rivals begins again."""
        before = self._failed[agent].starts if agent in self._failed else 0
        self._failed[agent] = Failure(before + 1, now)
        self._since |= dict.fromkeys(self._rivals(agent), now)

    def forget_failures(self, agents: Iterable[str]) -> None:
        """Try these agents again at once: they were ready, or a deployment may have removed the cause."""
        for name in agents:
            self._failed.pop(name, None)

    def startable(self, now: float) -> list[str]:
        """Return the agents whose requests are held."""
        return [name for name in self._conflicts if self._may_start(name, now)]

    def retries(self, now: float) -> dict[str, float]:
        """Return the agents that failed to start and will be tried again, each with the seconds until then."""
        left = {name: failure.retry_at - now for name, failure in self._failed.items()}
        return {name: seconds for name, seconds in left.items() if seconds > 0 and not self._pinned_rivals(name)}

    def pinned_out(self) -> list[str]:
        """Return the agents that a pinned agent keeps from their card."""
        return [name for name in self._conflicts if self._pinned_rivals(name)]

    def decide(self, now: float, loads: Mapping[str, Load]) -> Decision | None:
        """Return what to do now; None for nothing."""
        waiting = sorted((each for each in loads if loads[each].waiting), key=lambda each: -loads[each].oldest_seconds)
        before: set[str] = set()  # agents with an older request; no agent overtakes them on a shared card
        for name in waiting:
            if name in self._since or not self._may_start(name, now):
                continue
            rivals = self._rivals(name)
            oldest = loads[name].oldest_seconds
            if not before & set(self._conflicts[name]) and all(self._may_stop(each, now, oldest) for each in rivals):
                return Decision(name, f"{loads[name].waiting} requests wait, the oldest for {oldest:.1f} s")
            before.add(name)
        return self._after_idling(now, waiting)

    def _may_start(self, name: str, now: float) -> bool:
        if name in self._failed and self._failed[name].retry_at > now:
            return False
        return not self._pinned_rivals(name)

    def _pinned_rivals(self, name: str) -> list[str]:
        return [each for each in self._rivals(name) if each in self._settings.pinned]

    def _rivals(self, name: str) -> list[str]:
        return [each for each in self._conflicts[name] if each in self._since]

    def _may_stop(self, name: str, now: float, oldest: float) -> bool:
        settings, since = self._settings, self._since[name]
        # A new agent counts as used when it was loaded: its client has not had the time to send a request yet.
        if now - max(since, self._used.get(name, since)) >= settings.in_use_seconds:
            return True
        return now - since >= settings.min_active_seconds and oldest >= settings.max_wait_seconds - self._every

    def _after_idling(self, now: float, waiting: list[str]) -> Decision | None:
        settings = self._settings
        for name, since in self._since.items():
            idle = now - max(since, self._used.get(name, since))
            if not settings.idle_seconds or idle < settings.idle_seconds:
                continue
            if name in (*settings.pinned, *settings.default_agents) or {name, *self._conflicts[name]} & {*waiting}:
                continue
            why = f"{name} had no request for {idle:.0f} s"
            default = [each for each in settings.default_agents if each in self._conflicts[name]]
            if not default:
                return Decision(name, why, free=True)
            if self._may_start(default[0], now):
                return Decision(default[0], why)
        return None
