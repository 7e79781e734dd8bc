"""Attack a gateway that listens beyond loopback: a client without a key gets only /health. One row for each attack."""

import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
from clock import until
from real_gateway import ROLE, Gateway, create_files, own_ports

from roundhouse.gateway import config, keys

HERE = Path(__file__).parent
ROUTES = json.loads((HERE.parent / "fixtures/vllm-routes.json").read_text())
pytestmark = pytest.mark.skipif(
    not shutil.which("haproxy") or os.geteuid() != 0, reason="a network namespace and HAProxy are for root"
)


class Namespace(NamedTuple):
    """A second network namespace, and the addresses of the line to it."""

    name: str
    ours: str
    theirs: str


@pytest.fixture
def namespace():
    """Make a second network namespace, with a line to this one; no other process of these tests has its addresses."""
    claim = own_ports()
    network = f"198.18.{claim // 200}"
    made = Namespace(f"rh{claim}", f"{network}.1", f"{network}.2")
    remove(made)  # what a killed run left
    try:
        ip("netns", "add", made.name)
        ip("link", "add", made.name, "type", "veth", "peer", "name", "eth0", "netns", made.name)
        ip("address", "add", f"{made.ours}/30", "dev", made.name)
        ip("link", "set", made.name, "up")
        ip("-n", made.name, "address", "add", f"{made.theirs}/30", "dev", "eth0")
        ip("-n", made.name, "link", "set", "eth0", "up")
        yield made
    finally:
        remove(made)


def remove(made):
    """Remove a namespace; its line first, which would outlive it for a moment."""
    if Path("/sys/class/net", made.name).exists():
        ip("link", "delete", made.name)
    if Path("/run/netns", made.name).exists():
        ip("netns", "delete", made.name)


def ip(*words):
    subprocess.run(["ip", *words], check=True)


@pytest.fixture
def reached():
    """Return the requests that reach the engine of dev, which answers each with 200."""
    return []


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def table(request, tmp_path, monkeypatch, reached):
    """Start a gateway beyond loopback, with an engine that records its requests and reads pipelined ones too."""
    create_files(tmp_path, monkeypatch)
    keys.ensure()
    if request.param:
        script = (ROLE / "files/make_certificate.sh").read_text().replace("chown", ": chown")
        subprocess.run(["sh", "-c", script, "make", str(tmp_path / "tls.pem")], check=True)

    class Engine(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            while self.headers.get("Transfer-Encoding") and (size := int(self.rfile.readline(), 16)):
                self.rfile.read(size + 2)
            reached.append((self.path, self.headers.get("Authorization"), self.headers.get("Upgrade")))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *arguments):
            """Say nothing."""

    everywhere = "0.0.0.0"  # noqa: S104 - what the test is about
    made = Gateway(tmp_path, listen=everywhere, tls=request.param)
    made.trusting = ssl.create_default_context(cafile=tmp_path / "tls.pem") if request.param else None
    engine = ThreadingHTTPServer(("127.0.0.1", made.plan["agents"][0]["engine_port"]), Engine)
    threading.Thread(target=engine.serve_forever, daemon=True).start()
    try:
        made.start()
        until(lambda: made.ask("GET", "/health", port=made.ports.dev).status == 200)
        yield made
    finally:
        made.end()
        engine.shutdown()
        engine.server_close()


# The beginning of a row's name and the first status; None is a closed connection. Every other row gets 404 with the key
# and 401 without.
MALFORMED = dict.fromkeys(
    ("no HTTP", "two lengths", "TE.TE", "TE of another name", "a length with a sign", "a line in a header"), 400
)
# Another host than the header's, and a fragment.
MALFORMED |= dict.fromkeys((f"{method} {url}" for method in ("GET", "POST") for url in ("http:", "/v1/models#")), 400)
SMUGGLING = ("pipelined", "CL.TE", "TE.CL", "TE with a tab")
API = MALFORMED | {"GET /health,": 200, "GET *": 400, "POST *": 400}
API_WITH_THE_KEY = {
    **{f"POST {path},": 200 for path in config.WRITES},
    **{"GET /v1/models,": 200, "headers of 40 KB": 431, "a body of 1 GB": 413, "chunks of 2 MB": 413},
    **dict.fromkeys(SMUGGLING, 200),
}
METRICS_WITH_THE_KEY = {"GET /metrics,": 200}


def expected(what, port):
    """Return the status that a row begins with."""
    with_the_key = METRICS_WITH_THE_KEY if port == "metrics" else API_WITH_THE_KEY
    keyed = what.endswith(", the key")
    known = (MALFORMED if port == "metrics" else API) | (with_the_key if keyed else {})
    return next((status for begin, status in known.items() if what.startswith(begin)), 404 if keyed else 401)


# The paths that reach an engine through each port, besides HAProxy's own check of /health.
REACHABLE = {
    "any": {*config.WRITES},
    "dev": {*config.WRITES},
    # A completion verifies that other clients are answered meanwhile.
    "metrics": {"/metrics", "/v1/completions"},
}


@pytest.mark.parametrize("port", ["any", "dev", "metrics"])
def test_a_client_without_a_key_gets_only_health(table, namespace, reached, record_property, port):
    revoked = keys.add("revoked")
    keys.revoke("revoked")
    good = keys.load()["default"]
    number = table.ports.dev + 100 if port == "metrics" else getattr(table.ports, port)
    words = ["ip", "netns", "exec", namespace.name, sys.executable, HERE / "gateway_attacks.py"]
    words += [namespace.ours, str(number)]
    words += [json.dumps(ROUTES), good, revoked, *([table.folder / "tls.pem"] if table.trusting else [])]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as stranger:
        rows = json.loads(stranger.stdout.readline())
        # It keeps 2,000 connections open; other clients are answered meanwhile.
        assert table.complete("dev", Authorization=f"Bearer {good}").status == 200
        stranger.communicate("\n")
    outcomes = {what: statuses or [None] for what, statuses in rows}
    wrong = {what: found for what, found in outcomes.items() if found[0] != expected(what, port)}
    record_property("rows", len(outcomes))
    assert wrong == {}
    assert len(outcomes) > 8 * len(ROUTES)
    # Bytes after a request are refused as a request, or never read.
    assert {status for found in outcomes.values() for status in found[1:]} <= {400, 401, 404}
    assert {path for path, _, _ in reached} == {"/health", *REACHABLE[port]}
    assert {(key, upgrade) for _, key, upgrade in reached} == {(None, None)}
    for secret in (good, revoked):
        assert secret not in table.log()
