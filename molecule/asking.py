"""Send requests with OpenAI's client while switches run, and record the outcome of each."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable

import openai

CLIENTS = 20
ACROSS = 6  # requests that run when a switch begins, each second one a stream


class Asking:
    """Clients that send requests for the wanted agent, to the shared port or to the agent's own."""

    calm_seconds = 1.0  # between two switches
    tokens = 40
    across_tokens = 300  # so many that those requests run on for some seconds of the switch's drain

    def __init__(
        self, base: str, ports: dict[str, int], keys: list[str], tls: ssl.SSLContext | bool, requests: int
    ) -> None:
        self.base, self.ports, self.keys, self.left = base, ports, keys, requests
        self.wanted, self.over, self.asking = "", False, asyncio.Event()
        self.open = 0  # requests of the clients that are not answered yet
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
        load: Callable[[bool], object] = bool,
        held: Callable[[], bool] = lambda: True,
    ) -> None:
        """Send requests while `switch` activates one agent after another; the first is active already.

        The gateway refuses requests for an agent that is not in a switch. So the clients pause after the last request
        for an agent, until the next switch has `begun`, which may wait for that moment.
        Running requests of the previous agent continue. Engines that can `hold` their answers do so until the switch
        has begun, so the test needs no fast machine. `taken` returns whether the engine has that number of requests:
        one that arrives after the switch has begun is refused too. Engines that `load` only when allowed do so when the
        gateway has `held` a request, so a request waits for the switch on any machine.
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
                await asyncio.to_thread(load, False)
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
                while not await asyncio.to_thread(held) and not switching.done():
                    await asyncio.sleep(0.1)
                await asyncio.to_thread(load, True)
                await switching
                self.outcomes += await asyncio.gather(*running)
            self.over = True
            await asyncio.gather(*clients)
        finally:
            for each in clients:
                each.cancel()
            await self.http.aclose()

    def told(self) -> str:
        """Return the outcome of the requests in a sentence."""
        waited, answered = sorted(self.waited), self.outcomes.count("answered")
        return (
            f"{len(self.outcomes)} requests, {answered} answered whole by the asked agent. {self.across} ran when a "
            f"switch began; {sum(map(bool, waited))} waited, the longest {waited[-1] / 1000:.1f} s; {self.refused} "
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
        """Return long requests that the engine has taken: the last one, a stream, has begun to answer."""
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
            return f"{agent}, while it left: {error!r}"

    async def _until_kept(self, port: int, agent: str, number: int, *, stream: bool) -> str:
        """Ask, and repeat a request that was refused after a failed switch."""
        while True:
            try:
                return await self._ask(port, agent, number, stream=stream, tokens=self.tokens)
            except openai.InternalServerError as error:
                if error.status_code != 503 or error.response.headers.get("x-should-retry") != "false":
                    raise
                self.refused += 1
                await asyncio.sleep(1)

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
        """Return `answered` for a whole answer of the asked agent, else the difference."""
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
