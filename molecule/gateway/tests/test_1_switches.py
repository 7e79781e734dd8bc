"""Clients go on asking while agents come and go: nothing is lost, cut, or answered by another agent."""

import asyncio
import random

import httpx
import openai
import pytest
from conftest import ANY, PORTS

REQUESTS, CLIENTS, SWITCHES = 500, 20, 5
TOKENS = 40


class Asking:
    """Clients that ask whoever is wanted, by the one endpoint or by the agent's own."""

    def __init__(self, gate, wanted):
        self.gate, self.wanted, self.over = gate, wanted, False
        self.left, self.outcomes, self.waited, self.refused = REQUESTS, [], [], 0
        self.http = httpx.AsyncClient(verify=gate.tls, timeout=120)

    def api(self, port):
        """Return the users' own client, which tries nothing twice."""
        url = f"https://{self.gate.address}:{port}/v1"
        return openai.AsyncOpenAI(base_url=url, api_key=self.gate.key, max_retries=0, http_client=self.http)

    async def client(self, number):
        """Ask until the switches are over and all have been asked."""
        choice = random.Random(number)  # noqa: S311 - no secret
        while self.left > 0 or not self.over:
            self.left -= 1
            agent, stream = self.wanted, choice.random() < 0.5
            port = choice.choice((ANY, PORTS[agent]))
            try:
                self.outcomes.append(await self.until_kept(self.api(port), agent, number, stream=stream))
            except openai.OpenAIError as error:
                self.outcomes.append(f"{agent} on {port}: {error!r}")
            await asyncio.sleep(choice.random() * 0.6)

    async def until_kept(self, api, agent, number, *, stream):
        """Ask, and come again when told to; only a switch that failed may tell so."""
        while True:
            try:
                return await self.ask(api, agent, number, stream=stream)
            except openai.InternalServerError as error:
                if error.status_code != 503 or "no switch brings it" not in str(error):
                    raise
                self.refused += 1
                await asyncio.sleep(int(error.response.headers["Retry-After"]))

    async def ask(self, api, agent, number, *, stream):
        """Return `answered` when a whole answer came from who was asked, else what came."""
        asked = {"model": agent, "prompt": f"client {number}", "max_tokens": TOKENS}
        answer = await api.completions.with_raw_response.create(**asked, stream=stream)
        self.waited.append(int(answer.headers["x-roundhouse-waited-ms"]))
        by = answer.headers["x-roundhouse-agent"]
        if not stream:
            whole = answer.parse()
            models, reason, count = {whole.model}, whole.choices[0].finish_reason, whole.usage.completion_tokens
        else:
            events = [event async for event in answer.parse()]
            models, reason, count = {each.model for each in events}, events[-1].choices[0].finish_reason, len(events)
        good = (models, by, reason, count) == ({agent}, agent, "length", TOKENS)
        return "answered" if good else f"{agent}: {models} {by} {reason} {count}"


async def ask_while(gate, names, switch):
    asking = Asking(gate, names[0])
    clients = [asyncio.create_task(asking.client(number)) for number in range(CLIENTS)]
    for name in names[1:]:
        await asyncio.sleep(1)
        asking.wanted = name
        await asyncio.sleep(0.3)  # who had chosen has asked by now
        await asyncio.to_thread(switch, name)
    asking.over = True
    await asyncio.gather(*clients)
    await asking.http.aclose()
    return asking


def told(asking):
    """Return what became of the requests."""
    waited, answered = sorted(asking.waited), asking.outcomes.count("answered")
    return (
        f"{len(asking.outcomes)} requests, {answered} answered whole by who was asked; {sum(map(bool, waited))} waited "
        f"and the longest {waited[-1] / 1000:.1f} s; {asking.refused} were told to come again"
    )


@pytest.mark.parametrize("failing", [False, True], ids=["well", "failing twice"])
def test_nothing_is_lost_over_switches(gate, fault, record_property, failing):
    names = ["architect", "dev", "po", "architect", "po", "dev"]
    assert gate.run("architect")["rc"] == 0
    fault("po", "--load-seconds 1")
    failures = []

    def switch(name):
        if failing and name == "po" and len(failures) < 2:
            fault("po", "--out-of-memory")
            failures.extend(gate.run("po") for _ in range(2))
            fault("po", "")
        answer = gate.run(name)
        assert (answer["rc"], answer["cut"]) == (0, 0), answer

    asking = asyncio.run(ask_while(gate, names, switch))
    record_property("outcome", f"{SWITCHES} switches and {len(failures)} that failed: {told(asking)}")
    assert [each["rc"] for each in failures] == ([1, 1] if failing else [])
    assert [each for each in asking.outcomes if each != "answered"] == []
    assert len(asking.outcomes) >= REQUESTS
    assert failing or asking.refused == 0
    assert max(asking.waited) > 0
