"""Show the time until an answer begins."""

from __future__ import annotations

import sys

from ..schema.plan import Agent
from ..state import start_phases
from ..vllm.client import Engine

_SHOWN_AFTER_SECONDS = 1.0


class Waiting:
    """Writes one line on stderr: with a terminal it counts the seconds, and `clear` removes it."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._what: str | None = None
        self._terminal = sys.stderr.isatty()

    def __call__(self, seconds: float) -> None:
        """Show that the request has waited so long; an agent that is not loaded is starting."""
        if seconds < _SHOWN_AFTER_SECONDS:
            return
        first = self._what is None
        if self._what is None:
            self._what = self._reason()
        if self._terminal:
            print(f"\r\x1b[K{self._what}: {seconds:.0f} s", end="", file=sys.stderr, flush=True)
        elif first:
            print(self._what, file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Remove the line from the terminal."""
        if self._terminal and self._what is not None:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        self._what = None

    def _reason(self) -> str:
        name = self._agent["name"]
        if Engine(self._agent["host"], self._agent["engine_port"]).healthy():
            return f"waiting for {name}"
        known = start_phases.known(self._agent)
        return f"starting {name}" + (f" (about {known.seconds:.0f} s)" if known else "")
