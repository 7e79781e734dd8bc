"""Requests that run when a switch begins may end within the drain; those that do not are counted."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import openai
from conftest import AGENTS

STREAMS = 8


async def streams(url, tokens, switch):
    """Run streams with the users' own client, switch while they run, and return (tokens, reason) of each."""
    client = openai.AsyncOpenAI(base_url=url, api_key="not-needed", max_retries=0, timeout=60)
    started = asyncio.Semaphore(0)

    async def one(number):
        count, reason = 0, None
        prompt = f"stream {number}"
        try:
            async for event in await client.completions.create(
                model=AGENTS[0], prompt=prompt, max_tokens=tokens, stream=True
            ):
                count, reason = count + 1, event.choices[0].finish_reason
                if count == 1:
                    started.release()
        except openai.OpenAIError as error:
            reason = type(error).__name__
        return count, reason

    running = [asyncio.create_task(one(number)) for number in range(STREAMS)]
    for _ in range(STREAMS):
        await started.acquire()
    answer = await asyncio.to_thread(switch)
    return answer, await asyncio.gather(*running)


def test_no_stream_is_cut_that_ends_within_the_drain(table, address):
    answer, ended = asyncio.run(streams(address("architect"), 300, lambda: table.run("dev")))
    assert (answer["rc"], answer["cut"]) == (0, 0)
    assert ended == [(300, "length")] * STREAMS
    assert answer["stages"]["stop"] >= 1
    table.said = f"{STREAMS} streams of 300 tokens ended whole; stop took {answer['stages']['stop']} s"


def test_streams_that_do_not_end_are_cut_and_counted(table, address):
    answer, ended = asyncio.run(streams(address("architect"), 3000, lambda: table.run("dev", "--drain", "1")))
    assert (answer["rc"], answer["cut"]) == (0, STREAMS)
    assert all(reason != "length" for _, reason in ended)
    assert table.history()["cut"] == STREAMS
    table.said = f"{answer['cut']} streams were cut after 1 s"


def test_new_work_is_refused_while_the_rest_ends(table, address):
    client = openai.OpenAI(base_url=address("architect"), api_key="not-needed", max_retries=0, timeout=20)
    late = []

    def switch():
        with ThreadPoolExecutor() as pool:
            answer = pool.submit(table.run, "dev")
            table.until("grep -sq phase.:..stop /var/lib/roundhouse/state/switch.json")
            time.sleep(0.5)
            try:
                client.completions.create(model="architect", prompt="late", max_tokens=1)
            except openai.OpenAIError as error:
                late.append(type(error).__name__)
            return answer.result()

    answer, ended = asyncio.run(streams(address("architect"), 400, switch))
    assert (answer["rc"], answer["cut"]) == (0, 0)
    assert ended == [(400, "length")] * STREAMS
    assert late == ["InternalServerError"]
    table.said = f"a late request was refused with {late[0]}, and {STREAMS} streams ended whole"
