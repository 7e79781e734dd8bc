"""Send random requests to a real HAProxy with the role's templates: to the installed release, and to Debian 13's.

The environment variables GATEWAY_FUZZ_SEED and GATEWAY_FUZZ_INPUTS change them.

A failure names the seed of the request: `fuzzed_requests.request("SEED-NUMBER", key)` builds it again.
"""

import contextlib
import os
import re
import shutil
import socket
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fuzzed_requests
import pytest
from clock import until
from real_gateway import WAIT_SECONDS, create_files, folder_of_3_0, starting, version

from roundhouse.gateway import config, haproxy, keys

pytestmark = pytest.mark.skipif(not shutil.which("haproxy"), reason="HAProxy is not installed: make setup as root does")
SEED, INPUTS = os.environ.get("GATEWAY_FUZZ_SEED", "1"), int(os.environ.get("GATEWAY_FUZZ_INPUTS", "1500"))
AT_ONCE = 16
QUIET_SECONDS = 0.15  # of a connection that stays open
# With a key: 100 is of Expect. 503 is an agent that is not ready. All others are a refusal of the gateway.
DOCUMENTED = {100, 200, 400, 401, 403, 404, 408, 413, 431, 503}
PASSED = {"accept", "connection", "content-length", "content-type", "host", "transfer-encoding", "user-agent"}
# Buffers of all connections at once, and the Lua text of their bodies.
MOST_RSS_MIB = 160


class Engine(BaseHTTPRequestHandler):
    """Answer each request with 200, and record it in `server.reached`."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        while self.headers.get("Transfer-Encoding") and (size := int(self.rfile.readline(), 16)):
            body += self.rfile.read(size + 2)[:size]
        names = {name.lower() for name in self.headers}
        of_port = self.headers.get("User-Agent") == fuzzed_requests.PORT_OF_DEV.partition(": ")[2]
        self.server.reached.append((self.path, names, body, of_port))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *arguments):
        """Say nothing."""


@pytest.fixture(params=["installed", "3.0"])
def fuzzed(tmp_path, monkeypatch, request):
    """Start a gateway beyond loopback with the engine of dev. A request for po waits, for at most a second."""
    if request.param == "3.0":
        if not (folder := folder_of_3_0()):
            assert "CI" not in os.environ, "lab/haproxy.sh did not get HAProxy 3.0"
            pytest.skip("HAProxy 3.0 is not in the cache: make setup on Debian gets it")
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        assert version() == (3, 0)
    create_files(tmp_path, monkeypatch)
    keys.ensure()
    limits = {"waiting": 4, "wait_seconds": 1, "requests_per_minute": 10**6, "header_seconds": 1, "body_seconds": 1}
    everywhere = "0.0.0.0"  # noqa: S104 - beyond loopback
    for start in starting(tmp_path, listen=everywhere, tls=False, **limits):
        yield from _with_engine(start())


def _with_engine(table):
    engine = ThreadingHTTPServer(("127.0.0.1", table.plan["agents"][0]["engine_port"]), Engine)
    engine.reached = []
    threading.Thread(target=engine.serve_forever, daemon=True).start()
    until(lambda: table.ask("GET", "/health", port=table.ports.dev).status == 200)
    table.publish(po="ask:1")
    yield table, engine
    engine.shutdown()
    engine.server_close()


def send(table, request, source):
    """Return the statuses of the responses."""
    port = table.ports.any + 100 if request.port == "metrics" else getattr(table.ports, request.port)
    told = b""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), WAIT_SECONDS, (source, 0)) as line:
        line.settimeout(QUIET_SECONDS)
        with contextlib.suppress(OSError):
            line.sendall(request.raw)
        while part := line.recv(65536):
            told += part
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", told)]


def is_allowed(request, statuses):
    """Return whether a client may get these responses."""
    if not {*statuses} <= DOCUMENTED:
        return False
    answered = statuses.count(200)
    if not request.keyed:
        return not answered or b"/health" in request.raw
    # The hidden request has no key.
    return not request.hidden or answered <= 1


def names_dev(body):
    """Return whether a body may ask for dev."""
    text = re.sub(rb"\\u00([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), body)
    return b'"dev"' in text


def worker(table):
    """Return the number of HAProxy's worker, and its resident memory in MiB."""
    (number,) = [*haproxy._workers()]
    status = Path(f"/proc/{number}/status").read_text()
    return number, int(re.search(r"VmRSS:\s+(\d+)", status)[1]) // 1024


def test_random_requests_get_nothing_without_a_key_and_no_other_agent(fuzzed, record_property, capsys):
    table, engine = fuzzed
    key, (number, _), begun = keys.load()["default"], worker(table), time.monotonic()

    def one(turn):
        request = fuzzed_requests.request(f"{SEED}-{turn}", key)
        return f"{SEED}-{turn}", request, send(table, request, f"127.0.{turn % 16}.{2 + turn % 200}")

    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = [*pool.map(one, range(INPUTS))]
    seconds, seen = time.monotonic() - begun, Counter(status for _, _, statuses in outcomes for status in statuses)
    after, rss_mib = worker(table)
    release = ".".join(map(str, version()))
    told = f"HAProxy {release}: {INPUTS} inputs of seed {SEED} in {seconds:.0f} s, {rss_mib} MiB, "
    told += f"responses {dict(sorted(seen.items()))}"
    record_property("outcome", told)
    with capsys.disabled():
        sys.stdout.write(f"\n{told}\n")
    assert [(seed, statuses) for seed, request, statuses in outcomes if not is_allowed(request, statuses)] == []
    reached = [each for each in engine.reached if each[0] != "/health"]
    completions = [each for each in reached if each[0] != "/metrics"]
    assert {path for path, *_ in completions} == {*config.WRITES}
    assert [body[:200] for _, _, body, of_port in completions if not of_port and not names_dev(body)] == []
    assert [names - PASSED for _, names, *_ in reached if names - PASSED] == []
    # The inputs reach what they test.
    assert len(completions) > INPUTS / 50
    assert {200, 400, 401, 404, 413, 431} <= {*seen}
    assert (after, rss_mib < MOST_RSS_MIB) == (number, True)
    until(lambda: haproxy.read(["dev", "po"])["po"].waiting == 0)
    assert table.complete("dev", Authorization=f"Bearer {key}").status == 200
    metrics = table.ask("GET", "/metrics/roundhouse", port=table.ports.any + 100, Authorization=f"Bearer {key}")
    labels = {*re.findall(r'agent="([^"]*)"', metrics.body.decode())}
    assert {"po"} <= labels <= {"", config.ANY, "dev", "po"}, labels
    assert key not in table.log()
