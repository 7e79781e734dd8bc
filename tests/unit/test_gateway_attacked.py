"""Attacks on a gateway by clients with a key, by pages of other names, and by headers for an engine."""

import json
import shutil
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from clock import until
from real_gateway import WAIT_SECONDS, create_files, starting

from roundhouse.gateway import haproxy, keys

pytestmark = pytest.mark.skipif(not shutil.which("haproxy"), reason="HAProxy is not installed: make setup as root does")
NUL = "po\0 1 1\nwaiting dev 5 999999\nx"


@pytest.fixture
def start_gateway(tmp_path, monkeypatch):
    """Return a function that starts a gateway; dev is active."""
    yield from starting(create_files(tmp_path, monkeypatch))


@pytest.fixture
def engine():
    """Return a function that serves as the engine of an agent and returns the requests that reach it."""
    servers = []

    def serve(table, name="dev"):
        reached = []

        class Engine(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.path != "/health":
                    reached.append((self.path, {name.lower() for name in self.headers}, body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_POST = do_GET

            def log_message(self, *arguments):
                """Say nothing."""

        port = next(agent["engine_port"] for agent in table.plan["agents"] if agent["name"] == name)
        servers.append(ThreadingHTTPServer(("127.0.0.1", port), Engine))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        until(lambda: table.ask("GET", "/health", port=getattr(table.ports, name)).status == 200)
        return reached

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def bearer(name):
    return {"Authorization": f"Bearer {keys.load().get(name) or keys.add(name)}"}


def waiting(agent):
    return haproxy.read(["dev", "po"])[agent].waiting


def holding(table, pool, agent, times, **options):
    """Send requests that wait, and return their futures once the gateway holds them."""
    before = waiting(agent)
    futures = [pool.submit(table.complete, agent, **options) for _ in range(times)]
    until(lambda: waiting(agent) == before + times)
    return futures


@pytest.mark.parametrize("model", [NUL, "po\0", "po\0dev", "\0po", "po\0" + "x" * 1000])
def test_a_model_with_a_nul_is_unknown(start_gateway, model):
    table = start_gateway(waiting=2)
    table.publish(po="ask:5")
    answers = [table.complete(model) for _ in range(4)]
    assert [(each.status, each.headers["x-roundhouse-agent"]) for each in answers] == [(404, None)] * 4
    told = haproxy.ask_workers(["roundhouse waiting"])
    assert "waiting" not in "".join(told)
    metrics = table.ask("GET", "/metrics/roundhouse", port=table.ports.any + 100).body.decode()
    assert 'refused_total{agent="",why="model"} 4' in metrics


@pytest.mark.parametrize(
    "line", ["waiting a b 1 2", "waiting dev x 2", "waiting dev 1", "waiting dev 1 2 3", "waiting"]
)
def test_a_line_of_another_form_does_not_end_the_control_service(line):
    whole = haproxy._of_worker(f"{line}\nwaiting dev 3 4000\n")
    assert (whole["dev"].waiting, whole["dev"].oldest_seconds) == (3, 4.0)


def nested(levels):
    schema = {}
    for _ in range(levels):
        schema = {"properties": {"a": schema}}
    return schema


@pytest.mark.parametrize("model", ["dev", "nosuch", "dev\0"])
@pytest.mark.parametrize("levels", [9, 11, 200])
def test_a_deep_schema_before_the_model_hides_no_agent(start_gateway, engine, levels, model):
    table = start_gateway()
    reached = engine(table)
    tools = [{"function": {"description": 'model": "po" \\" \\u0022', "parameters": nested(levels)}}]
    body = {"tools": tools, "model": model, "messages": [{"model": "po"}]}
    answer = table.ask("POST", "/v1/chat/completions", body)
    assert (answer.status, len(reached)) == ((200, 1) if model == "dev" else (404, 0))


@pytest.mark.parametrize(
    "body",
    [
        b'["model", "dev"]',
        b'{"a": {"model": "dev"}}',
        b'{"a": [[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]], "b": "model", "c": "dev"}',
        b'{"a": [[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]], "model": {"x": "dev"}}',
        b'{"a": [[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]], "model": "dev',
        b'{"a": "\\',
        b"[" * 100_000,
        b"{" * 100_000,
    ],
)
def test_a_body_that_names_no_model_reaches_no_engine(start_gateway, engine, body):
    table = start_gateway()
    reached = engine(table)
    answer = table.ask("POST", "/v1/completions", body)
    assert (answer.status, reached) == (404, [])
    assert table.complete("dev").status == 200


DROPPED = ("Proxy-Authorization", "Proxy-Connection", "Cookie", "X-Data-Parallel-Rank", "X-Request-Id", "Traceparent")
DROPPED += ("Forwarded", "X-Forwarded-For", "Via", "TE", "Keep-Alive", "Upgrade", "Content-Encoding")


def test_only_known_headers_reach_an_engine(start_gateway, engine):
    keys.ensure()
    table = start_gateway(key_required=True)
    reached = engine(table)
    sent = dict.fromkeys(DROPPED, "1")
    answer = table.complete("dev", **sent, Connection="x-data-parallel-rank, cookie", **bearer("default"))
    assert answer.status == 200
    ((_, names, _),) = reached
    # HAProxy itself adds `Connection: close`.
    assert names <= {"accept", "connection", "content-length", "content-type", "host", "user-agent"}
    table.ask("GET", "/metrics", port=table.ports.dev + 100, **sent, **bearer("default"))
    assert not reached[-1][1] & {name.lower() for name in sent}


HOSTS = {
    **dict.fromkeys(("attacker.example", "attacker.example:8080", "localhost.attacker.example", "x", "7.example"), 403),
    **dict.fromkeys(("127.0.0.1.attacker.example", "localhost@attacker.example", "1.2.3", "gpu.lan.example"), 403),
    **dict.fromkeys(("localhost", "LOCALHOST:8080", "chat.localhost", "127.0.0.1:80", "[::1]:8080", "gpu.lan:80"), 200),
}


def test_a_page_of_a_name_that_resolves_to_this_host_gets_nothing(start_gateway, engine):
    table = start_gateway(hosts=["gpu.lan"])
    reached = engine(table)
    statuses, wanted = {}, {}
    for host, status in HOSTS.items():
        page = {"Host": host, "Content-Type": "text/plain"}
        answers = [
            table.complete("dev", **page),
            table.ask("GET", "/v1/models", Host=host),
            table.ask("GET", "/health", Host=host),
            table.ask("GET", "/metrics", port=table.ports.dev + 100, Host=host),
        ]
        statuses[host], wanted[host] = [each.status for each in answers], [status] * 4
    assert statuses == wanted
    assert len(reached) == 2 * [*HOSTS.values()].count(200)
    assert "gateway_hosts" in table.ask("GET", "/v1/models", Host="x").body.decode()


def test_a_page_of_another_origin_reads_nothing_either(start_gateway):
    table = start_gateway()
    page = {"Origin": "http://attacker.example"}
    assert [table.ask("GET", path, **page).status for path in ("/v1/models", "/health")] == [403, 403]
    # A program that follows HTTP/1.0 sends no name.
    with socket.create_connection(("127.0.0.1", table.ports.any), WAIT_SECONDS) as line:
        line.sendall(b"GET /v1/models HTTP/1.0\r\n\r\n")
        assert line.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_key_is_enough_for_any_host_name(start_gateway):
    keys.ensure()
    table = start_gateway(key_required=True)
    assert table.ask("GET", "/v1/models", Host="gpu.example", **bearer("default")).status == 200


@pytest.mark.parametrize("port", [0, 100])
def test_http2_is_not_spoken(start_gateway, port):
    table = start_gateway()
    # The preface, and SETTINGS without a value.
    hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + struct.pack(">I", 4)[1:] + b"\0" * 6
    with socket.create_connection(("127.0.0.1", table.ports.any + port), WAIT_SECONDS) as line:
        line.sendall(hello)
        assert line.recv(65536).startswith(b"HTTP/1.1 400")


def test_a_revoked_keys_held_requests_are_refused_at_once(start_gateway):
    keys.ensure()
    table = start_gateway(key_required=True)
    table.publish(po="wait:5")
    with ThreadPoolExecutor(3) as pool:
        gone = holding(table, pool, "po", 2, **bearer("laptop"))
        stays = holding(table, pool, "po", 1, **bearer("default"))
        keys.revoke("laptop")
        assert [(each.result().status, json.loads(each.result().body)["error"]["code"]) for each in gone] == [
            (401, 401)
        ] * 2
        assert waiting("po") == 1
        table.publish(po="off:5")
        assert stays[0].result().status == 503


def test_a_key_revoked_while_its_body_arrives_is_refused(start_gateway, engine):
    keys.ensure()
    table = start_gateway(key_required=True)
    reached = engine(table)
    body = b'{"model": "dev", "prompt": "x"}'
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: {bearer('laptop')['Authorization']}\r\n"
    with socket.create_connection(("127.0.0.1", table.ports.any), WAIT_SECONDS) as line:
        line.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:9])
        until(lambda: "key=laptop" in "".join(haproxy.ask_workers(["show table LIMITS"])))
        keys.revoke("laptop")
        line.sendall(body[9:])
        assert line.recv(65536).startswith(b"HTTP/1.1 401")
    assert reached == []


def test_a_full_queue_is_shared_fairly_by_key(start_gateway):
    keys.ensure()
    table = start_gateway(key_required=True, waiting=4)
    table.publish(po="wait:5")
    with ThreadPoolExecutor(8) as pool:
        many = holding(table, pool, "po", 4, **bearer("many"))
        few = [pool.submit(table.complete, "po", **bearer(name)) for name in ("few", "few")]
        until(lambda: sum(each.done() for each in many) == 2)
        until(lambda: waiting("po") == 4)
        # Two each now. A third request of either key has no place.
        refused = [table.complete("po", **bearer(name)) for name in ("many", "few")]
        assert [each.status for each in refused] == [503, 503]
        # A key without a request has: of the keys with most, the newest request leaves.
        new = pool.submit(table.complete, "po", **bearer("new"))
        until(lambda: sum(each.done() for each in [*many, *few]) == 3)
        table.publish(po="off:5")
    messages = [json.loads(each.result().body)["error"]["message"] for each in [*many, *few, new]]
    assert sum("is full" in each for each in messages) == 3
    assert "is not loaded" in json.loads(new.result().body)["error"]["message"]


def test_the_size_of_held_requests_is_bounded_over_all_agents(start_gateway):
    table = start_gateway(waiting=100, held_mib=1)
    table.publish(dev="wait:5", po="wait:5")
    with ThreadPoolExecutor(4) as pool:
        held = holding(table, pool, "po", 1, prompt="a" * 400_000)
        held += holding(table, pool, "dev", 1, prompt="a" * 400_000)
        refused = table.complete("dev", prompt="a" * 400_000)
        assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
        assert "gateway_held_mib" in json.loads(refused.body)["error"]["message"]
        held += holding(table, pool, "dev", 1)  # a short one
        table.publish(dev="off:5", po="off:5")
        assert [each.result().status for each in held] == [503] * 3


def test_a_models_path_is_not_evaluated_by_haproxy(start_gateway):
    table = start_gateway()
    table.plan["agents"][0]["model"] = '/srv/%[env(HOME)]/%%[env(HOME)]/${HOME}/"$HOME"/%{+Q}o'
    table.write()
    table.end()
    table.engines = {}
    table.start()
    listed = json.loads(table.ask("GET", "/v1/models/dev").body)
    assert listed["root"] == table.plan["agents"][0]["model"]
