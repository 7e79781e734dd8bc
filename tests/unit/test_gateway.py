"""Run the gateway's HAProxy: which request reaches which engine, which is held, and which is refused."""

import contextlib
import http.client
import json
import re
import select
import shutil
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from clock import until
from real_gateway import WAIT_SECONDS, create_files, starting, version
from small_server import Handler, served

from roundhouse.gateway import haproxy, keys, on_demand
from roundhouse.state import history, switch_metrics

STALE_SECONDS = 0.25  # so old HAProxy's time may be, on a busy machine: it is that of its last turn
pytestmark = pytest.mark.skipif(not shutil.which("haproxy"), reason="HAProxy is not installed: make setup as root does")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Give the gateway's files a folder of their own."""
    return create_files(tmp_path, monkeypatch)


@pytest.fixture
def start_gateway(place):
    """Return a function that starts a gateway; dev is active."""
    yield from starting(place)


def error(answer):
    return json.loads(answer.body)["error"]


def wait_for_waiting(count, name):
    until(lambda: haproxy.read([name])[name].waiting == count)


def send(table, **options):
    """Send a completion of dev on a connection of its own, and return that; nothing is read from it."""
    body = json.dumps({"model": "dev", "prompt": "go on"} | options).encode()
    line = socket.create_connection(("127.0.0.1", table.ports.any), WAIT_SECONDS)
    line.sendall(
        f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    )
    return line


@contextlib.contextmanager
def asking(ask, *arguments, times=1):
    """Ask in threads for the length of the `with`; give their answers, which are there at its end."""
    with ThreadPoolExecutor(times) as pool:
        answers = []
        futures = [pool.submit(ask, *arguments) for _ in range(times)]
        yield answers
        answers += [each.result() for each in futures]


def test_a_prompt_of_400_kb_before_the_model_is_routed(start_gateway):
    table = start_gateway()
    table.serve("dev")
    answer = table.complete("dev", prompt="a" * 400_000)
    assert (answer.status, answer.headers["x-roundhouse-agent"]) == (200, "dev")
    assert json.loads(answer.body)["model"] == "dev"


def test_a_request_beyond_the_limit_is_refused_with_it(start_gateway):
    table = start_gateway()
    table.serve("dev")
    # The users' client: it reads the answer, though its body was not wanted.
    url = f"http://127.0.0.1:{table.ports.any}/v1"
    client = openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=WAIT_SECONDS)
    with pytest.raises(openai.APIStatusError, match="longer than 524288 bytes") as refused:
        client.completions.create(model="dev", prompt="a" * 530_000)
    assert refused.value.status_code == 413


def test_a_request_waits_while_its_engine_starts(start_gateway):
    table = start_gateway()
    with asking(table.complete, "dev") as answers:
        wait_for_waiting(1, "dev")
        table.engine("dev")
    assert answers[0].status == 200
    assert int(answers[0].headers["x-roundhouse-waited-ms"]) > 0


def test_requests_wait_during_a_switch_though_the_engine_is_up(start_gateway):
    table = start_gateway()
    table.serve("dev")
    table.publish(dev="wait:7")
    begun = time.monotonic()
    with asking(table.complete, "dev") as answers:
        wait_for_waiting(1, "dev")
        seen = time.monotonic()
        time.sleep(2 * STALE_SECONDS)
        metrics = table.ask("GET", "/metrics/roundhouse", port=table.ports.any + 100).body.decode()
        assert '# TYPE roundhouse_gateway_waiting gauge\nroundhouse_gateway_waiting{agent="dev"} 1\n' in metrics
        least = time.monotonic() - seen
        table.publish(dev="on:7")
    assert answers[0].status == 200
    told = int(answers[0].headers["x-roundhouse-waited-ms"]) / 1000
    assert least - STALE_SECONDS <= told <= time.monotonic() - begun + STALE_SECONDS


@pytest.mark.parametrize("port", ["any", "dev"])
def test_a_request_that_was_still_coming_when_a_switch_began_waits_too(start_gateway, port):
    table = start_gateway()
    table.serve("dev")
    body = b'{"model": "dev", "prompt": "go on", "max_tokens": 1}'
    with socket.create_connection(("127.0.0.1", getattr(table.ports, port)), WAIT_SECONDS) as line:
        head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        line.sendall(head.encode() + body[:10])
        own = rf"src=127\.0\.0\.1:{line.getsockname()[1]} fe=API .* calls=[1-9]"
        until(lambda: re.search(own, "".join(haproxy.ask_workers(["show sess"]))))  # the head has been looked at
        table.publish(dev="wait:7")
        line.sendall(body[10:])
        wait_for_waiting(1, "dev")
        assert select.select([line], [], [], 0.2)[0] == []
        table.publish(dev="on:7")
        assert line.recv(65536).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("on_demand", "route", "reason"),
    [
        (False, "off:48", "agents are not started on demand: gateway_on_demand is false"),
        (True, "off:48", "agents are not started on demand: the service roundhouse-control does not run"),
        (True, "pinned:48", "a pinned agent (gateway_pinned) keeps its GPU"),
    ],
)
def test_an_agent_without_a_start_on_demand_is_refused_and_no_client_retries(start_gateway, on_demand, route, reason):
    table = start_gateway(on_demand=on_demand, max_wait_seconds=2, min_active_seconds=1, wait_seconds=300)
    table.publish(po=route)
    answer = table.complete("po")
    assert (answer.status, answer.headers["Retry-After"], answer.headers["x-should-retry"]) == (503, None, "false")
    assert error(answer) == {
        "message": f"po is not loaded, and {reason}. Run `roundhouse po` on the host.",
        **{"type": "server_error", "param": None, "code": 503},
    }
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{table.ports.any}/v1", api_key="none")  # retries, by default
    with pytest.raises(openai.InternalServerError, match="is not loaded"):
        client.completions.create(model="po", prompt="go on")
    assert counts_of_refused(table, "po") == {route.partition(":")[0]: 2}  # one of each client


def test_an_agent_that_failed_to_start_is_refused_with_the_time_of_the_next_try(start_gateway):
    table = start_gateway()
    table.publish(po=f"failed:{int(time.time()) + 48}")
    answer = table.complete("po")
    assert (answer.status, answer.headers["x-should-retry"]) == (503, None)
    assert 40 <= int(answer.headers["Retry-After"]) <= 48
    assert error(answer)["message"].startswith("po failed to start")
    table.publish(po=f"failed:{int(time.time()) - 48}")
    assert table.complete("po").headers["Retry-After"] == "1"


@pytest.mark.xfail(
    version() >= (3, 0), reason="HAProxy 3.0 looks for its client only once a request is handed on", strict=True
)
def test_a_closed_connection_counts_no_longer_as_waiting(start_gateway):
    table = start_gateway(waiting=1)
    table.publish(dev="wait:5")
    with send(table):
        wait_for_waiting(1, "dev")
    until(lambda: haproxy.read(["dev"])["dev"].waiting == 0, 20)  # sooner than by wait_seconds
    with asking(table.complete, "dev") as answers:
        wait_for_waiting(1, "dev")  # it is not refused
        table.publish(dev="off:5")
    assert answers[0].headers["x-should-retry"] == "false"


def test_waiting_is_bounded_in_number(start_gateway):
    table = start_gateway(waiting=2)
    table.publish(dev="wait:5")
    with asking(table.complete, "dev", times=2) as waited:
        wait_for_waiting(2, "dev")
        with asking(table.complete, "dev", times=2) as refused:
            pass
        table.publish(dev="off:5")
    assert reasons(refused) == [("2 requests, gateway_waiting).", 503)] * 2
    assert [each.headers["x-should-retry"] for each in waited] == ["false", "false"]
    assert counts_of_refused(table) == {"full": 2, "off": 2}


def test_the_control_services_question_about_900_waiting_requests_ends_no_worker(start_gateway):
    table = start_gateway(waiting=1000)
    table.publish(dev="wait:5")
    with contextlib.ExitStack() as lines:
        for _ in range(900):
            lines.enter_context(send(table))
        wait_for_waiting(900, "dev")
        for _ in range(20):
            assert haproxy.read(["dev"])["dev"].waiting == 900
    assert "exited with code" not in table.log()


def test_waiting_is_bounded_in_time(start_gateway):
    table = start_gateway(wait_seconds=1)
    table.publish(dev="wait:5")
    with asking(table.complete, "dev", times=2) as late:
        pass
    assert reasons(late) == [("gateway_wait_seconds).", 503)] * 2
    assert min(int(each.headers["x-roundhouse-waited-ms"]) for each in late) >= 1000
    assert counts_of_refused(table) == {"late": 2}


def reasons(answers):
    return [(error(each)["message"].split("(")[1], each.status) for each in answers]


def counts_of_refused(table, name="dev"):
    text = table.ask("GET", "/metrics/roundhouse", port=table.ports.any + 100).body.decode()
    kind = rf'^roundhouse_gateway_refused_total{{agent="{name}",why="([a-z-]+)"}} (\d+)$'
    found = re.findall(kind, text, re.MULTILINE)
    return {why: int(times) for why, times in found}


def test_an_agent_on_demand_holds_a_completion_and_answers_a_read(start_gateway):
    table = start_gateway()
    on_demand.publish(on_demand.Offers(["po"], {}, []))
    table.serve("dev")
    table.publish()
    assert table.complete("dev").status == 200
    begun = time.monotonic()
    with asking(table.complete, "po", times=2) as answers:
        wait_for_waiting(2, "po")
        assert table.ask("GET", "/v1/models", port=table.ports.po).status == 200  # at once
        until(lambda: haproxy.read(["po"])["po"].oldest_seconds > 0.3)
        seen = haproxy.read(["dev", "po"])
        assert (seen["po"].waiting, seen["po"].running, seen["dev"].waiting) == (2, 0, 0)
        assert seen["po"].oldest_seconds <= time.monotonic() - begun + STALE_SECONDS
        assert seen["dev"].total == 1
        table.ask("GET", "/metrics", port=table.ports.dev + 100)
        assert haproxy.read(["dev"])["dev"].total == 1  # a reader of metrics does not use the agent
        on_demand.withdraw()
        table.publish()
    assert [each.status for each in answers] == [503, 503]
    assert haproxy.read(["po"])["po"].waiting == 0


def test_running_requests_of_the_worker_before_a_reload_are_counted(start_gateway):
    table = start_gateway()
    hold = table.hold("dev")
    with asking(stream, table, 20):
        until(lambda: haproxy.read(["dev"])["dev"].running == 1)
        table.process.send_signal(signal.SIGUSR2)
        until(lambda: "# old workers" in haproxy._ask("show proc"))
        assert haproxy.read(["dev"])["dev"].running == 1
        hold.unlink()
    until(lambda: haproxy.read(["dev"])["dev"].running == 0)


def test_a_refused_request_is_counted_with_the_reason(start_gateway):
    keys.ensure()
    key = f"Bearer {keys.add('one')}"
    table = start_gateway(requests_per_minute=2, key_required=True)
    table.ask("GET", "/v1/models")
    table.ask("GET", "/invocations", Authorization=key)
    for _ in range(3):
        table.ask("POST", "/v1/completions", {"model": "nosuch"}, Authorization=key)
    key = f"Bearer {keys.load()['default']}"
    text = table.ask("GET", "/metrics/roundhouse", port=table.ports.any + 100, Authorization=key).body.decode()
    told = dict(re.findall(r'refused_total{agent="",why="([a-z-]+)"} (\d+)', text))
    assert told == {"key": "1", "path": "1", "model": "2", "rate": "1"}


def test_switches_are_shown_as_histograms(start_gateway):
    for seconds in (3.0, 40.0):
        switch_metrics.add(history.Entry(0.0, ["dev"], "po", "done", {"stop": 1.0, "start": seconds}, 0, None))
    switch_metrics.add(history.Entry(0.0, ["dev"], "po", "rolled_back", {"stop": 2.0}, 0, "it did not start"))
    table = start_gateway()
    text = table.ask("GET", "/metrics/roundhouse", port=table.ports.any + 100).body.decode()
    name, labels = "roundhouse_switch_phase_seconds", 'from="dev",to="po",phase="start",outcome="done"'
    assert f"# TYPE {name} histogram\n" in text
    buckets = [float(each) for each in re.findall(rf"{name}_bucket{{{labels},le=\S+}} (\S+)", text)]
    assert buckets == [0, 0, 1, 1, 1, 2, 2, 2, 2, 2]
    assert f"{name}_sum{{{labels}}} 43\n" in text
    assert f'{name}_count{{from="dev",to="po",phase="all",outcome="rolled_back"}} 1\n' in text


def test_an_agents_port_needs_no_model_and_reports_its_health(start_gateway):
    table = start_gateway()
    table.serve("dev")
    assert table.complete("dev", port=table.ports.dev).status == 200
    assert table.ask("GET", "/health", port=table.ports.po).status == 503
    assert table.ask("GET", "/health").status == 200


@pytest.mark.parametrize("body", [{"prompt": "x"}, {"model": "nosuch"}, {"model": 'a"\r\nx: y'}, {"model": ["dev"]}])
def test_a_missing_or_unknown_model_is_refused(start_gateway, body):
    answer = start_gateway().ask("POST", "/v1/completions", body)
    assert answer.status == 404
    assert error(answer)["code"] == "model_not_found"
    assert error(answer)["message"].endswith("The agents are dev, po.")
    assert "x" not in answer.headers


def test_metrics_answer_alone_on_their_own_port(start_gateway):
    table = start_gateway()
    table.serve("dev")
    metrics = table.ports.dev + 100
    assert b"vllm:num_requests_running" in table.ask("GET", "/metrics", port=metrics).body
    assert table.ask("GET", "/metrics", port=table.ports.po + 100).status == 503
    for path in ("/v1/models", "/health", "/metrics/", "//metrics"):
        assert table.ask("GET", path, port=metrics).status == 404
    assert b"haproxy_frontend_http_requests_total" in table.ask("GET", "/metrics", port=table.ports.any + 100).body
    assert table.ask("GET", "/metrics").status == 404


def test_a_client_that_goes_away_ends_its_request_at_the_engine(start_gateway):
    table = start_gateway()
    table.serve("dev")
    metrics = table.ports.dev + 100

    def running():
        told = table.ask("GET", "/metrics", port=metrics).body.decode()
        return float(re.search(r'requests_running{engine="0",model_name="dev"} (\S+)', told)[1])

    with send(table, max_tokens=100_000):
        until(lambda: running() == 1)
    until(lambda: running() == 0)


def test_requests_wait_for_a_crashed_engine_that_restarts(start_gateway):
    table = start_gateway()
    table.serve("dev")
    table.engines["dev"].kill()
    table.engines["dev"].wait()
    with asking(table.complete, "dev") as answers:
        until(lambda: is_there(haproxy.read(["dev"])["dev"]))
        table.engine("dev")
    assert answers[0].status == 200


def is_there(load):
    """Return whether a request waits: before a check of the engine has failed, as one that runs and is tried again."""
    return load.running + load.waiting == 1


def stream(table, tokens, begun=lambda: None):
    """Return the events of a stream; call `begun` when the first one has come."""
    connection = http.client.HTTPConnection("127.0.0.1", table.ports.any, timeout=WAIT_SECONDS)
    body = {"model": "dev", "prompt": "go on", "max_tokens": tokens, "stream": True}
    connection.request("POST", "/v1/completions", json.dumps(body))
    answer = connection.getresponse()
    first = answer.readline()
    begun()
    events = [line for line in (first + answer.read()).split(b"\n") if line.startswith(b"data: ")]
    connection.close()
    return events


def test_a_stream_is_passed_on_as_it_comes(start_gateway):
    came = threading.Event()
    seen = []

    class Streaming(Handler):
        """An engine that makes its second token once the client has the first one."""

        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream; charset=utf-8")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.event("one")
            seen.append(came.wait(WAIT_SECONDS / 2))  # the client is there longer
            self.event("[DONE]")
            self.wfile.write(b"0\r\n\r\n")

        def event(self, data):
            raw = f"data: {data}\n\n".encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(raw), raw))

    table = start_gateway()
    with served(Streaming, table.plan["agents"][0]["engine_port"]):
        until(lambda: table.ask("GET", "/health", port=table.ports.dev).status == 200)
        assert stream(table, 2, came.set) == [b"data: one", b"data: [DONE]"]
    assert seen == [True]


def test_a_reload_cuts_no_stream_and_a_held_request_gets_retry_after(start_gateway):
    table = start_gateway()
    hold = table.hold("dev")
    table.publish(dev="on:5", po="wait:5")
    with asking(stream, table, 20, times=8) as streams, asking(table.complete, "po") as waiting:
        until(lambda: haproxy.read(["dev"])["dev"].running == 8)
        wait_for_waiting(1, "po")
        table.process.send_signal(signal.SIGUSR2)
        until(lambda: "# old workers" in haproxy._ask("show proc"))
        hold.unlink()
        assert table.complete("dev").status == 200
    assert [(len(events), events[-1]) for events in streams] == [(21, b"data: [DONE]")] * 8
    assert (waiting[0].status, waiting[0].headers["Retry-After"]) == (503, "1")
