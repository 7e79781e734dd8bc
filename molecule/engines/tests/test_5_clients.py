"""OpenAI's own client and curl work with the active agent, on each runtime."""

from concurrent.futures import ThreadPoolExecutor

import pytest


@pytest.mark.parametrize(
    ("what", "part"),
    [("chat", ""), ("stream", "24 tokens"), ("tools", "port_of(")],
)
def test_the_openai_client(run, what, part):
    said = run(["python", "examples/openai_client.py", what])
    assert said.strip()
    assert part in said


def test_concurrent_requests_run_concurrently(run, running):
    with ThreadPoolExecutor(1) as pool:
        batch = pool.submit(run, ["python", "examples/openai_client.py", "batch"])
        most = 0.0
        while not batch.done():
            most = max(most, running())
    assert "one after the other" in batch.result()
    assert most > 1


def test_curl(run):
    said = run(["examples/curl.sh"])
    assert '"id": "dev"' in said
    assert said.rstrip().endswith("data: [DONE]")
