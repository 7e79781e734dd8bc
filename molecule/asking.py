"""Run clients (OpenAI's own) that send requests during switches, and record the outcome of each request."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable

import openai

CLIENTS = 20
ACROSS = 6  # requests that run when a switch begins; every second one is a stream


class Asking:
    """Clients that send requests to the wanted agent, at the common endpoint or at the agent's own port."""

    calm_seconds = 1.0  # between two switches
    tokens = 40
    across_tokens = 300  # enough for those requests to run for some seconds of the switch's drain

    def __init__(
        self, base: str, ports: dict[str, int], keys: list[str], tls: ssl.SSLContext | bool, requests: int
    ) -> None:
        self.base, self.ports, self.keys, self.left = base, ports, keys, requests
        self.wanted, self.over, self.asking = "", False, asyncio.Event()
        self.open = 0  # unanswered requests of the clients
        self.outcomes: list[str] = []
        self.waited: list[int] = []
        self.refused = self.across = 0
        self.http = openai.DefaultAsyncHttpxClient(verify=tls, timeout=120)

    async def through(
        self,
        names: list[str],
        switch: Callable[[str], None],
        begun: Callable[[], bool],
        hold: Callable[[bool], object] = bool,
        taken: Callable[[int], bool] = bool,
    ) -> None:
        """Send requests while `switch` switches from one agent to the next; the first agent is already active.

        Between one agent's last request and the moment at which the switch to the next has `begun`, no client sends a
        request. The gateway rightly refuses a request for an agent that is not starting. Requests on the previous agent
        continue. If the engines can `hold` their answers, they do so until the switch has begun, on any machine.
        `taken` returns whether the engine has accepted that many requests, because later ones are refused.
        """
        self.wanted = names[0]
        self.asking.set()
        clients = [asyncio.create_task(self._client(number)) for number in range(CLIENTS)]
        try:
            for name in names[1:]:
                await asyncio.sleep(self.calm_seconds)
                self.asking.clear()
                while self.open:
                    await asyncio.sleep(0.02)
                await asyncio.to_thread(hold, True)
                running = await self._begin_long(self.wanted)
                while not await asyncio.to_thread(taken, ACROSS) and not any(each.done() for each in running):
                    await asyncio.sleep(0.1)
                switching = asyncio.create_task(asyncio.to_thread(switch, name))
                while not await asyncio.to_thread(begun) and not switching.done():
                    await asyncio.sleep(0.02)
                self.across += sum(not each.done() for each in running)
                await asyncio.to_thread(hold, False)
                self.wanted = name
                self.asking.set()
                await switching
                self.outcomes += await asyncio.gather(*running)
            self.over = True
            await asyncio.gather(*clients)
        finally:
            for each in clients:
                each.cancel()
            await self.http.aclose()

    def told(self) -> str:
        """Return a summary of the outcomes."""
        waited, answered = sorted(self.waited), self.outcomes.count("answered")
        return (
            f"{len(self.outcomes)} requests: {answered} completely answered by their agent, {self.across} ran when a "
            f"switch began, {sum(map(bool, waited))} waited (at most {waited[-1] / 1000:.1f} s), {self.refused} "
            "were refused and repeated"
        )

    async def _client(self, number: int) -> None:
        choice = random.Random(number)  # noqa: S311 - no secret
        while self.left > 0 or not self.over:
            self.left -= 1
            await self.asking.wait()
            agent, stream = self.wanted, choice.random() < 0.5
            port = self.ports[choice.choice(("any", agent))]
            self.open += 1
            try:
                self.outcomes.append(await self._until_kept(port, agent, number, stream=stream))
            except openai.OpenAIError as error:
                self.outcomes.append(f"{agent} on {port}: {error!r}")
            self.open -= 1
            await asyncio.sleep(choice.random() * 0.3)

    async def _begin_long(self, agent: str) -> list[asyncio.Task[str]]:
        """Start long requests, wait until the engine has accepted them and the last one, a stream, has begun."""
        begun = asyncio.Event()
        running = [asyncio.create_task(self._long(agent, number, begun)) for number in range(ACROSS)]
        while not begun.is_set() and not running[-1].done():
            await asyncio.sleep(0.02)
        return running

    async def _long(self, agent: str, number: int, begun: asyncio.Event) -> str:
        asked = {
            "stream": number % 2 == 1,
            "tokens": self.across_tokens,
            "begun": begun if number == ACROSS - 1 else None,
        }
        try:
            return await self._ask(self.ports["any"], agent, number, **asked)
        except openai.OpenAIError as error:
            return f"{agent}, during its drain: {error!r}"

    async def _until_kept(self, port: int, agent: str, number: int, *, stream: bool) -> str:
        """Send a request, and repeat it if the gateway asks for that, as after a failed switch."""
        while True:
            try:
                return await self._ask(port, agent, number, stream=stream, tokens=self.tokens)
            except openai.InternalServerError as error:
                if error.status_code != 503 or "no switch brings it" not in str(error):
                    raise
                self.refused += 1
                await asyncio.sleep(min(2, int(error.response.headers["Retry-After"])))

    async def _ask(
        self,
        port: int,
        agent: str,
        number: int,
        *,
        stream: bool,
        tokens: int,
        begun: asyncio.Event | None = None,
    ) -> str:
        """Return `answered` for a complete answer of the requested agent, otherwise a description of the answer."""
        url = f"{self.base}:{port}/v1"
        api = openai.AsyncOpenAI(
            base_url=url, api_key=self.keys[number % len(self.keys)], max_retries=0, http_client=self.http
        )
        asked = {"model": agent, "prompt": f"client {number}", "max_tokens": tokens}
        answer = await api.completions.with_raw_response.create(**asked, stream=stream)
        self.waited.append(int(answer.headers["x-roundhouse-waited-ms"]))
        by = answer.headers["x-roundhouse-agent"]
        if begun:
            begun.set()
        if not stream:
            whole = answer.parse()
            models, reason, count = {whole.model}, whole.choices[0].finish_reason, whole.usage.completion_tokens
        else:
            events = [event async for event in answer.parse()]
            models, reason, count = {each.model for each in events}, events[-1].choices[0].finish_reason, len(events)
        good = (models, by, reason, count) == ({agent}, agent, "length", tokens)
        return "answered" if good else f"{agent}: {models} {by} {reason} {count}"
