"""Requests that run when a switch begins may finish during the drain; the others are cut and counted."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from conftest import AGENTS, PORTS, STATE

STREAMS = 8
TOKENS = 50  # half a second, of a drain of 30 s


@pytest.fixture
def gated(table):
    """Make the architect's answers wait while the gate is closed, only in this case."""
    table.restart("architect", f"--answer-while {table.gate}")
    table.fault("architect", "")
    return table


async def streams(table, url, switch):
    """Run streams with OpenAI's client, hold them at the gate, switch, and return (tokens, reason) of each stream."""
    client = openai.AsyncOpenAI(base_url=url, api_key="not-needed", max_retries=0, timeout=300)

    async def one(number):
        count, reason = 0, None
        prompt = f"stream {number}"
        try:
            async for event in await client.completions.create(
                model=AGENTS[0], prompt=prompt, max_tokens=TOKENS, stream=True
            ):
                count, reason = count + 1, event.choices[0].finish_reason
        except openai.OpenAIError as error:
            reason = type(error).__name__
        return count, reason

    await asyncio.to_thread(table.close_gate)
    running = [asyncio.create_task(one(number)) for number in range(STREAMS)]
    await asyncio.to_thread(table.until, f"roundhouse status --json | grep -q 'running.: {STREAMS}'")
    answer = await asyncio.to_thread(switch)
    return answer, await asyncio.gather(*running)


NOTED = f"architect: {STREAMS} running"  # the journal's note after the request to stop


def test_streams_that_finish_during_the_drain_are_not_cut(gated, address):
    table = gated

    def switch():
        table.meanwhile(NOTED, f"sleep 1; rm {table.gate}")
        return table.run("dev")

    answer, ended = asyncio.run(streams(table, address("architect"), switch))
    assert (answer["rc"], answer["cut"]) == (0, 0)
    assert ended == [(TOKENS, "length")] * STREAMS
    assert answer["stages"]["stop"] >= 1
    table.said = f"{STREAMS} streams of {TOKENS} tokens ended whole; stop took {answer['stages']['stop']} s"


def test_unfinished_streams_are_cut_and_counted(gated, address):
    table = gated
    switch = lambda: table.run("dev", "--drain", "1")  # noqa: E731 - it is one call
    answer, ended = asyncio.run(streams(table, address("architect"), switch))
    assert (answer["rc"], answer["cut"]) == (0, STREAMS)
    assert all(reason != "length" for _, reason in ended)
    assert table.history()["cut"] == STREAMS
    table.said = f"{answer['cut']} streams were cut after 1 s"


def refuses_work(agent):
    """Return the condition that an engine takes no new work: it refuses even a request for an unknown model."""
    code = f"import http.client as c; line = c.HTTPConnection('127.0.0.1', {PORTS[agent]}); "
    code += "line.request('POST', '/v1/completions', '{}'); print(line.getresponse().status)"
    return f'test "$(python3 -c "{code}")" = 500'


def test_new_requests_are_refused_during_the_drain(gated, address):
    table = gated
    client = openai.OpenAI(base_url=address("architect"), api_key="not-needed", max_retries=0, timeout=120)
    late = []

    def switch():
        with ThreadPoolExecutor() as pool:
            answer = pool.submit(table.run, "dev")
            table.until(f"grep -sq '{NOTED}' {STATE}/switch.json")
            table.until(refuses_work("architect"))
            try:
                client.completions.create(model="architect", prompt="late", max_tokens=1)
            except openai.OpenAIError as error:
                late.append(type(error).__name__)
            table.host.check_output(f"rm {table.gate}")
            return answer.result()

    answer, ended = asyncio.run(streams(table, address("architect"), switch))
    assert (answer["rc"], answer["cut"]) == (0, 0)
    assert ended == [(TOKENS, "length")] * STREAMS
    assert late == ["InternalServerError"]
    table.said = f"a late request was refused with {late[0]}, and {STREAMS} streams ended whole"
