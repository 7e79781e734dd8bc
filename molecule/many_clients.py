"""Send requests for agents in turn, and compare waits and switches with the bounds of the settings."""

from __future__ import annotations

import asyncio
import collections
import ssl
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import openai

TOKENS = 10
LONGEST_SECONDS = 240  # the limit of a run in which `enough` stays False
CHECK_SECONDS = 3


class Asked(NamedTuple):
    """One request: its agent, its outcome and the seconds of its hold."""

    agent: str
    outcome: str
    waited_seconds: float


class ManyClients:
    """Clients that each ask for one agent and then for the next, without a break."""

    def __init__(self, base: str, keys: list[str], tls: ssl.SSLContext | bool, agents: list[str]) -> None:
        self.base, self.keys, self.agents = base, keys, agents
        self.asked: list[Asked] = []
        self.http = openai.DefaultAsyncHttpxClient(verify=tls, timeout=600)

    async def run(
        self, seconds: float, clients: int, pause_seconds: float, enough: Callable[[], bool] = lambda: True
    ) -> list[Asked]:
        """Send requests for that time and until `enough` returns True, and return the outcomes.

        Requests that wait at the end are answered too. `enough` is called every few seconds.
        """
        begun, over = time.monotonic(), asyncio.Event()
        asking = [asyncio.create_task(self._client(number, over, pause_seconds)) for number in range(clients)]
        try:
            while (lasts := time.monotonic() - begun) < max(seconds, LONGEST_SECONDS):
                if await asyncio.to_thread(enough) and lasts >= seconds:
                    break
                await asyncio.sleep(min(CHECK_SECONDS, max(0.1, seconds - lasts)))
            over.set()
            await asyncio.gather(*asking)
        finally:
            for each in asking:
                each.cancel()
            await self.http.aclose()
        return self.asked

    async def _client(self, number: int, over: asyncio.Event, pause_seconds: float) -> None:
        turn = number
        key = self.keys[number % len(self.keys)]
        api = openai.AsyncOpenAI(base_url=self.base, api_key=key, max_retries=0, http_client=self.http)
        while not over.is_set():
            agent = self.agents[turn % len(self.agents)]
            turn += 1
            self.asked.append(await _ask(api, agent))
            await asyncio.sleep(pause_seconds)


async def _ask(api: Any, agent: str) -> Asked:
    try:
        answer = await api.completions.with_raw_response.create(model=agent, prompt="go on", max_tokens=TOKENS)
    except openai.OpenAIError as error:
        return Asked(agent, repr(error)[:200], 0.0)
    by, model = answer.headers["x-roundhouse-agent"], answer.parse().model
    outcome = "answered" if by == model == agent else f"by {by}, {model}"
    return Asked(agent, outcome, int(answer.headers["x-roundhouse-waited-ms"]) / 1000)


class Found(NamedTuple):
    """The result of a run, and the bounds of the settings."""

    asked: list[Asked]
    switches: int
    most_switches: int
    longest_seconds: float
    promised_seconds: float

    def kept(self) -> bool:
        """Return whether all bounds were kept."""
        good = all(one.outcome == "answered" for one in self.asked)
        return good and self.switches <= self.most_switches and self.longest_seconds <= self.promised_seconds

    def text(self, seconds: float) -> str:
        """Return it in a line."""
        many = collections.Counter(one.agent for one in self.asked)
        good = sum(one.outcome == "answered" for one in self.asked)
        return (
            f"{seconds:.0f} s: {self.switches} switches of at most {self.most_switches}; longest wait "
            f"{self.longest_seconds:.1f} s of at most {self.promised_seconds:.1f}; {good} of {len(self.asked)} "
            f"requests answered ({', '.join(f'{agent} {count}' for agent, count in sorted(many.items()))})"
        )
