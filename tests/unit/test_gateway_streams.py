"""Cut streams: the client gets the reason as OpenAI's error, in a complete response."""

import http.client
import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from clock import until
from real_gateway import WAIT_SECONDS, create_files, starting

from roundhouse.gateway import haproxy

pytestmark = pytest.mark.skipif(not shutil.which("haproxy"), reason="HAProxy is not installed: make setup as root does")
STREAMS = 4


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Return a gateway whose agent dev writes slowly."""
    for start in starting(create_files(tmp_path, monkeypatch)):
        made = start()
        made.serve("dev", "--tokens-per-second", "20")
        yield made


def read(table, tokens=2000):
    """Return the number of events of a stream, and the error that ends it."""
    api = openai.OpenAI(base_url=f"http://127.0.0.1:{table.ports.any}/v1", api_key="none", timeout=WAIT_SECONDS)
    events = 0
    try:
        for _ in api.completions.create(model="dev", prompt="go on", max_tokens=tokens, stream=True):
            events += 1
    except openai.APIError as error:
        return events, error
    return events, None


def test_openais_client_reads_why_its_stream_was_cut(table):
    with ThreadPoolExecutor(STREAMS) as pool:
        streams = [pool.submit(read, table) for _ in range(STREAMS)]
        until(lambda: haproxy.read(["dev"])["dev"].running == STREAMS)
        assert haproxy.cut_streams("dev", "a switch to po")
        found = [each.result() for each in streams]
    assert {error.message for _, error in found} == {"dev was stopped by a switch to po; repeat the request."}
    assert {error.code for _, error in found} == {"agent_stopped"}
    assert haproxy.ended_streams("dev") == STREAMS
    until(lambda: haproxy.read(["dev"])["dev"].running == 0)  # the engine's connections are closed
    events, error = read(table, tokens=5)  # a request that begins later is not cut
    assert (events, error) == (5, None)


def test_a_cut_stream_is_a_whole_response(table):
    """Read to the end without http.client's IncompleteRead, and find the event between two empty lines."""
    line = http.client.HTTPConnection("127.0.0.1", table.ports.any, timeout=WAIT_SECONDS)
    body = {"model": "dev", "prompt": "go on", "max_tokens": 2000, "stream": True}
    line.request("POST", "/v1/completions", json.dumps(body))
    answer = line.getresponse()
    first = answer.readline()
    assert haproxy.cut_streams("dev", "a deployment")
    *events, last, rest = (first + answer.read()).decode().split("\n\n")
    assert rest == ""
    assert json.loads(last.removeprefix("data: "))["error"] == {
        "message": "dev was stopped by a deployment; repeat the request.",
        **{"type": "server_error", "param": None, "code": "agent_stopped"},
    }
    assert all("error" not in json.loads(each.removeprefix("data: ")) for each in events)


def test_an_answer_in_one_piece_is_not_touched(table):
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(table.complete, "dev", tokens=40)
        until(lambda: haproxy.read(["dev"])["dev"].running == 1)
        assert haproxy.cut_streams("dev", "a switch to po")
        answer = asked.result()
    assert (answer.status, json.loads(answer.body)["usage"]["completion_tokens"]) == (200, 40)
    assert haproxy.ended_streams("dev") == 0


def test_without_a_gateway_nothing_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(haproxy, "RUNTIME", str(tmp_path))
    assert (haproxy.cut_streams("dev", "a switch to po"), haproxy.ended_streams("dev")) == (False, 0)


def test_the_lua_state_has_one_thread(table):
    """With two threads, HAProxy 2.6.12 crashed in two of two runs of 24 clients that streamed for 25 s."""
    (told,) = haproxy.ask_workers(["show info"])
    assert "Nbthread: 1" in told.splitlines()
