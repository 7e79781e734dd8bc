"""A hub that answers anything, on loopback, and the real pull: an error or a verified model, and nothing elsewhere."""

import hashlib
import json
import re
import struct
import threading
import time
from types import SimpleNamespace
from urllib.parse import urlsplit

from fuzz import SECONDS, SHARP, run
from pulling import RETRY, Notes
from small_server import Handler, served

from roundhouse.errors import RoundhouseError
from roundhouse.models import pull, store
from roundhouse.models.hub import Hub
from roundhouse.models.pull_job import PullRequest

MODEL, REVISION, TOKEN = "lab/small", "0123456789abcdef0123456789abcdef01234567", "hf_a-token-of-this-test"
HEADER = json.dumps({"t": {"dtype": "U8", "shape": [64], "data_offsets": [0, 64]}}).encode()
FILES = {
    "model.safetensors": struct.pack("<Q", len(HEADER)) + HEADER + bytes(64),
    "config.json": b"{}",
    "tokenizer.json": b"{}",
}
PATHS = [*SHARP, "../evil.json", "/srv/evil.json", "a/../../evil.json", "evil.py", "evil.bin", ".evil.json", "..json"]


def entry(name, content):
    """Return a file's entry in a tree, as the hub's."""
    git = hashlib.sha1(f"blob {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()
    found = {"type": "file", "path": name, "size": len(content), "oid": git}
    if name.endswith(".safetensors"):
        sha = hashlib.sha256(content).hexdigest()
        found["lfs"] = {"oid": sha, "size": len(content), "pointerSize": 134}
    return found


class Answering(Handler):
    """Answer as a hub that the draw of the server has changed."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        draw, path = self.server.draw, urlsplit(self.path).path
        with self.server.lock:
            changes = draw.maybe(self.server.share)
            if "/revision/" in path:
                self.send({"id": MODEL, "sha": REVISION, "siblings": []}, changes)
            elif "/tree/" in path:
                self.send(self.tree(draw), changes)
            elif name := next((name for name in FILES if path.endswith(f"/{name}")), None):
                self.file(draw, FILES[name], changes)
            else:
                self.file(draw, b"evil", changes)

    do_HEAD = do_GET

    def tree(self, draw):
        found = [entry(name, content) for name, content in FILES.items()]
        if draw.maybe(0.5):
            found += [entry(draw.choice(PATHS) + draw.choice(["", ".json", ".safetensors"]), b"evil")]
        return found

    def send(self, content, changes):
        draw = self.server.draw
        raw = json.dumps(draw.changed(content, 0.1) if changes else content).encode()
        if changes and draw.maybe(0.2):
            raw = draw.choice([draw.damaged(raw), b"[" * 3000, b"", b"<html>"])
        link = {"Link": f'<{draw.choice(["http://127.0.0.1:1/", "file:///etc/passwd", self.path])}>; rel="next"'}
        self.answer(draw.choice([200, 200, 200, 401, 404, 429, 500]) if changes else 200, raw, link if changes else {})

    def file(self, draw, content, changes):
        etag = hashlib.sha256(content).hexdigest()
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": REVISION, "Accept-Ranges": "bytes"}
        if not changes:
            self.answer(200, content, headers)
            return
        kind = draw.randrange(5)
        other = f"http://127.0.0.1:{self.server.other}/x"
        if kind == 0:
            place = draw.choice([other, self.path, "file:///etc/passwd", "//", "http://[", "ftp://127.0.0.1/"])
            self.answer(302, b"", {**headers, "Location": place})
        elif kind == 1:
            self.answer(200, draw.damaged(content), headers)
        elif kind == 2:
            sizes = ["x", "-1", str(10**18), str(len(content) + 1), "0"]
            self.answer(200, content, {**headers, "Content-Length": draw.choice(sizes)})
        elif kind == 3:
            ranges = ["bytes 5-9/10", "bytes x", f"bytes {10**30}-", "bytes 0-"]
            self.answer(206, content, {**headers, "Content-Range": draw.choice(ranges)})
        else:
            self.answer(draw.choice([403, 416, 503]), b"", {"X-Error-Message": "\x1b[2Jevil", "Retry-After": "0"})

    def answer(self, status, body, headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class Other(Handler):
    """Record the tokens that another server gets."""

    def do_GET(self):
        self.server.tokens.append(self.headers.get("Authorization"))
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"evil")

    do_HEAD = do_GET


def test_a_hub_that_answers_anything(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("roundhouse.models.hub.TIMEOUT_SECONDS", 2.0)
    waits = SimpleNamespace(**{**vars(time), "sleep": lambda _: None})  # the client's own, between its retries
    monkeypatch.setattr("huggingface_hub.utils._http.time", waits)
    whole = []
    with served(Answering) as server, served(Other) as other:
        server.lock, server.other, other.tokens = threading.Lock(), other.server_port, []

        def check(draw):
            server.draw, server.share = draw, draw.choice([0.05, 0.3, 0.7])
            place = tmp_path / str(draw.random())
            try:
                with Notes() as shown:
                    job = pull.Pull(
                        place,
                        Hub(f"http://127.0.0.1:{server.server_port}"),
                        shown,
                        retry=RETRY._replace(tries=2, first_seconds=0.0, longest_seconds=0.0),
                    )
                    (row,) = job.run([PullRequest(MODEL, "main")])
            except RoundhouseError as error:
                assert "\x1b" not in error.message
            else:
                whole.append(row)
                assert {name: (place / MODEL / REVISION / name).read_bytes() for name in FILES} == FILES
            check_store(place)
            assert set(other.tokens) <= {None}

        run("hubs", check, least=5, seconds=3 * SECONDS)
    assert whole
    assert {path.name for path in tmp_path.iterdir()} <= {path.name for path in tmp_path.glob("0.*")}


def check_store(place):
    """Check that there are only files of the model, below its folder, and none that runs code."""
    for path in place.rglob("*"):
        parts = path.relative_to(place).parts
        assert parts[:2] == ("lab", "small")[: len(parts)]
        if len(parts) > 2 and parts[2] not in (store.LOCK, ".pull.json"):
            assert re.fullmatch(r"[0-9a-f]{40}(\.partial)?", parts[2])
        if len(parts) > 3:
            assert len(parts) == 4
            assert re.search(r"\.(safetensors|json|part)$", path.name)
            assert not path.name.removesuffix(".part").endswith((".py", ".bin"))
