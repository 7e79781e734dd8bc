"""What a stranger may do at a gateway that listens to others: ask for /health. A row for each thing that he tries."""

import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from real_gateway import Gateway, furnish, until

from roundhouse import gateway_config, gateway_keys

HERE = Path(__file__).parent
ROUTES = json.loads((HERE.parent / "fixtures/vllm-routes.json").read_text())
NAMESPACE, OURS, THEIRS = f"rh{os.getpid()}", "198.18.77.1", "198.18.77.2"
pytestmark = pytest.mark.skipif(
    not shutil.which("haproxy") or os.geteuid() != 0, reason="a network namespace and HAProxy are for root"
)


@pytest.fixture
def namespace():
    """Make a second network namespace, with a line to this one."""

    def ip(*words):
        subprocess.run(["ip", *words], check=True)

    ip("netns", "add", NAMESPACE)
    ip("link", "add", NAMESPACE, "type", "veth", "peer", "name", "eth0", "netns", NAMESPACE)
    ip("address", "add", f"{OURS}/30", "dev", NAMESPACE)
    ip("link", "set", NAMESPACE, "up")
    ip("-n", NAMESPACE, "address", "add", f"{THEIRS}/30", "dev", "eth0")
    ip("-n", NAMESPACE, "link", "set", "eth0", "up")
    yield
    ip("netns", "delete", NAMESPACE)


@pytest.fixture
def reached():
    """Return what reaches the engine of dev: it says yes to everything."""
    return []


@pytest.fixture
def table(tmp_path, monkeypatch, reached):
    """Start a gateway for others, with an engine that notes what it is asked."""
    furnish(tmp_path, monkeypatch)
    gateway_keys.ensure()

    class Engine(BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            reached.append((self.path, self.headers.get("Authorization"), self.headers.get("Upgrade")))
            self.send_response(200)
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *arguments):
            """Say nothing."""

    everywhere = "0.0.0.0"  # noqa: S104 - what the test is about
    made = Gateway(tmp_path, listen=everywhere, tls=False)
    engine = ThreadingHTTPServer(("127.0.0.1", made.plan["agents"][0]["engine_port"]), Engine)
    threading.Thread(target=engine.serve_forever, daemon=True).start()
    made.start()
    until(lambda: made.ask("GET", "/health", port=made.ports.dev).status == 200)
    yield made
    made.end()
    engine.shutdown()


# How a row's name begins, and the statuses that it may end with, with the key; None is a closed connection. Whatever is
# not here ends with 404, and without the key with 401.
WITH_THE_KEY = {
    **{f"POST {path},": {200} for path in gateway_config.WRITES},
    **{"GET /v1/models,": {200}, "headers of 40 KB": {431}, "a body of 1 GB": {413}, "chunks of 2 MB": {413}},
}
ANYHOW = {
    **{"GET /health,": {200}, "no HTTP": {400, None}, "two lengths": {400}, "TE of another name": {400, 422, 404, 401}},
    **{f"{method} {path}": {400} for method in ("GET", "POST") for path in ("http:", "*", "/v1/models#")},
}


def expected(what):
    """Return the statuses that a row may end with."""
    known = ANYHOW | (WITH_THE_KEY if what.endswith(", the key") else {})
    otherwise = {404} if what.endswith(", the key") else {401}
    return next((statuses for begin, statuses in known.items() if what.startswith(begin)), otherwise)


def test_a_stranger_gets_nothing_but_health(table, namespace, reached, record_property):
    revoked = gateway_keys.add("revoked")
    gateway_keys.revoke("revoked")
    good = gateway_keys.load()["default"]
    words = ["ip", "netns", "exec", NAMESPACE, sys.executable, HERE / "gateway_attacks.py", OURS, str(table.ports.any)]
    words += [json.dumps(ROUTES), good, revoked]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as stranger:
        rows = json.loads(stranger.stdout.readline())
        # He keeps 2,000 connections open; others are served all the same.
        assert table.complete("dev", Authorization=f"Bearer {good}").status == 200
        stranger.communicate("\n")
    outcomes = {what: int(line.split()[1]) if line.startswith("HTTP/") else None for what, line in rows}
    wrong = {what: status for what, status in outcomes.items() if status not in expected(what)}
    record_property("rows", len(outcomes))
    assert wrong == {}
    assert len(outcomes) > 8 * len(ROUTES)
    paths = {path for path, _, _ in reached}
    assert paths == {"/health", *gateway_config.WRITES}
    assert {(key, upgrade) for _, key, upgrade in reached} == {(None, None)}
    for secret in (good, revoked):
        assert secret not in table.log()
