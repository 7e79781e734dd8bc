"""Another account of the host takes the port of an engine that is down: it gets no request of the agent."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
from real_gateway import Gateway, create_files

pytestmark = [
    pytest.mark.skipif(not shutil.which("haproxy"), reason="HAProxy is not installed: make setup as root does"),
    pytest.mark.skipif(os.getuid() != 0, reason="only root can run a server as another account"),
]
# The gateway remembers a look at a port for 20 ms.
LOOK_SECONDS = 0.03

# Changes its account, listens at argv[1] on the port argv[2], answers with 200, and prints each path but /health.
IMPOSTOR = """
import encodings.idna, os, sys
from http.server import *
class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path != "/health": print(self.path, flush=True)
        self.send_response(200)
        self.end_headers()
    do_POST = do_GET
    def log_message(self, *_): pass
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
ThreadingHTTPServer.address_family = 10 if ":" in sys.argv[1] else 2
server = ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Answer)
print("listens", flush=True)
server.serve_forever()
"""


@pytest.fixture(params=["native", "compose"])
def table(tmp_path, monkeypatch, request):
    """Start a gateway where dev is active, with the engines as processes and in containers."""
    table = Gateway(create_files(tmp_path, monkeypatch), wait_seconds=1)
    table.plan["runtime"] = request.param
    yield table.start()
    table.end()


@pytest.fixture
def take(table):
    """Return a function that ends dev's engine, takes its port as another account, and returns that process."""
    running = []

    def run(address="127.0.0.1"):
        end_engine(table)
        port = table.plan["agents"][0]["engine_port"]
        words = [sys.executable, "-c", IMPOSTOR, address, str(port)]
        running.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
        assert running[-1].stdout.readline() == "listens\n"
        return running[-1]

    yield run
    for process in running:
        process.kill()
        process.wait()


def end_engine(table):
    engine = table.engines.pop("dev")
    engine.kill()
    engine.wait()
    time.sleep(LOOK_SECONDS)


def ended(impostor):
    """End the impostor and return the paths of the requests that it got."""
    impostor.kill()
    return impostor.communicate()[0].split()


ALL, ALL_6, MAPPED = "0.0.0.0", "::", "::ffff:127.0.0.1"  # noqa: S104 - of the attack


@pytest.mark.parametrize(
    ("table", "address"),
    [("native", "127.0.0.1"), ("native", ALL), ("compose", "127.0.0.1"), ("compose", ALL_6), ("compose", MAPPED)],
    indirect=["table"],
)
def test_a_port_that_another_account_took_gets_no_request(table, take, address):
    table.serve("dev")
    assert table.complete("dev").status == 200
    impostor = take(address)
    answer = table.complete("dev")
    assert (answer.status, json.loads(answer.body)["error"]["message"][:24]) == (503, "dev did not become ready")
    assert table.ask("GET", "/health", port=table.ports.dev).status == 503
    assert ended(impostor) == []


def test_a_request_waits_until_the_port_belongs_to_the_engine_again(table, take):
    table.serve("dev")
    assert ended(take()) == []
    table.serve("dev")
    assert table.complete("dev").status == 200


def test_the_kernel_may_forward_the_port_of_a_container(table):
    """Docker without its proxy has no listener on the port: HAProxy connects, and retries as for each engine."""
    table.serve("dev")
    end_engine(table)
    waited = int(table.complete("dev", timeout=60).headers["x-roundhouse-waited-ms"])
    assert (waited == 0) == (table.plan["runtime"] == "compose")
