"""A hub with faults on request for the real client: the store's server with a log and a list of faults."""

from __future__ import annotations

import contextlib
import gzip
import importlib.util
import json
import os
import re
import select
import shutil
import socket
import struct
import threading
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from clock import until

from roundhouse.models import peer_server
from roundhouse.paths import CHECKOUT as ROOT

_spec = importlib.util.spec_from_file_location("lab_hub", ROOT / "lab/hub.py")
lab_hub = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(lab_hub)
MIB = 1 << 20
GONE_MILLISECONDS = 20_000  # a client that acknowledges nothing for this long is disconnected
TOKEN = "hf_a-token-that-no-log-may-show"


class Fault:
    """A fault in the first `times` requests for a path. `kind` is a method of FaultyHandler."""

    def __init__(self, kind: str, path: str = ".*", times: int = 1, **how: float) -> None:
        self.kind, self.path, self.times, self.how = kind, path, times, how


class Sent(NamedTuple):
    """One answer: the start and the number of bytes of a file's body that were sent."""

    method: str
    path: str
    start: int
    size: int
    token: str | None


class Repositories(lab_hub.Folders):
    """Serve plain folders, each as the repository lab/NAME, with the earlier revisions of its branch."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.left: dict[str, Path] = {}

    def move(self, model: str, change) -> None:
        """Move the branch main to a changed folder, and keep the earlier revision."""
        before = self.revision(model, "main")
        aside = self.root.parent / before
        shutil.copytree(self.folder(model), aside)
        self.left[before] = aside
        change(self.folder(model))

    def revision(self, model: str, asked: str) -> str | None:
        return asked if asked in self.left else super().revision(model, asked)

    def files(self, model: str, revision: str):
        folder = self.left.get(revision, self.folder(model))
        paths = sorted(path for path in folder.iterdir() if path.is_file())
        return [lab_hub.describe(path, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]

    def path(self, model: str, revision: str, name: str) -> Path:
        return self.left.get(revision, self.folder(model)) / name


class FaultyHub(peer_server.Server):
    """Run the hub in a thread until the end of the `with`, by default on loopback."""

    def __init__(self, root: Path, address: str = "127.0.0.1") -> None:
        self.faults: list[Fault] = []
        self._log: list[Sent] = []
        self.out = 0  # sent bytes of files, including answers in progress.
        self.out_of: Counter[str] = Counter()  # the same by file name
        self.going: set[threading.Thread] = set()  # threads of answers in progress
        self.gated: set[str] = set()
        self.private: set[str] = set()
        self.elsewhere: str | None = None  # the URL of another server with the large files
        self.bytes_per_second: float | None = None
        self.most_at_a_time: int | None = None  # an answer stops after this many bytes until its client disconnects
        self.paused = threading.Event()  # sending is stopped; see pause_after
        self._most, self._open = float("inf"), threading.Event()
        self._open.set()
        super().__init__((address, 0), Repositories(root), None, FaultyHandler)
        self.url = f"http://{address}:{self.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on()
        self.shutdown()
        self.server_close()

    def pause_after(self, count: int) -> None:
        """Stop sending after this many more bytes of files."""
        self.paused.clear()
        self._open.clear()
        self._most = self.out + count

    def go_on(self) -> None:
        """Resume sending."""
        self._most = float("inf")
        self._open.set()

    def wait_while_paused(self) -> None:
        """Wait while sending is stopped."""
        if self.out >= self._most:
            self.paused.set()
            self._open.wait()

    @property
    def log(self) -> list[Sent]:
        """Return the answers after all are complete: a client gets the last byte before the hub records it."""
        until(lambda: not self.going)
        return self._log

    def sent_bytes(self, path: str = ".*") -> int:
        """Return the number of sent bytes of files."""
        return sum(sent.size for sent in self.log if re.search(path, sent.path))

    def fault(self, path: str) -> Fault | None:
        """Return the next fault for a path, and count it."""
        for fault in self.faults:
            if fault.times and re.search(fault.path, path):
                fault.times -= 1
                return fault
        return None


class FaultyHandler(peer_server.Handler):
    """Answer like the hub, or with a fault."""

    server: FaultyHub
    broken: Fault | None = None

    def setup(self) -> None:
        super().setup()
        # A small buffer, so that bytes counted as sent have reached the client.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        # A restarting host neither acknowledges nor refuses packets.
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE_MILLISECONDS)

    def answer(self, verb, model, revision, name):
        self.server.going.add(threading.current_thread())
        try:
            self.answer_with_faults(verb, model, revision, name)
        finally:
            self.server.going.discard(threading.current_thread())

    def answer_with_faults(self, verb, model, revision, name):
        self.broken, self.start, self.size = None, 0, 0
        given = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        if model in self.server.private and given != TOKEN:
            self.refuse(401, "RepoNotFound")
        elif model in self.server.gated and given != TOKEN and verb == "resolve":
            self.refuse(403, "GatedRepo")
        elif self.server.elsewhere and name.endswith(".safetensors"):
            self.reply(b"", 302, {"Location": self.server.elsewhere + self.path, "X-Repo-Commit": revision})
        else:
            self.broken = self.server.fault(self.path) if self.command == "GET" else None
            if self.broken and self.broken.kind == "slow":
                time.sleep(self.broken.how["wait"])
            if self.broken and self.broken.kind == "page":  # the login page of a network
                self.reply(b"<html>Log in</html>", 200, {"Content-Type": "text/html; charset=utf-8"})
            elif self.broken and self.broken.kind == "empty":  # a page without entries that names another page
                self.reply(b"[]", 200, {"Link": f'<{self.server.url}{self.path}>; rel="next"'})
            elif self.broken and self.broken.kind in ("drip_head", "drip_body", "flood"):
                self.send_without_end(self.broken.kind)
            elif self.broken and self.broken.kind == "compressed":
                self.reply(gzip.compress(b"[]"), 200, {"Content-Encoding": "gzip"})
            elif self.broken and self.broken.kind == "status":
                wait = {"Retry-After": str(self.broken.how["wait"])} if "wait" in self.broken.how else {}
                self.reply(b"{}", int(self.broken.how["code"]), wait)
            else:
                super().answer(verb, model, revision, name)
        self.server._log.append(Sent(self.command, self.path, self.start, self.size, given))

    def send_without_end(self, kind):
        """Send a header or a body, byte by byte or as fast as the client reads, until the client disconnects."""
        self.close_connection = True
        body = b"\r\nContent-Type: application/json\r\n\r\n["
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: " + (b"" if kind == "drip_head" else body))
        end = time.monotonic() + GONE_MILLISECONDS / 1000
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while time.monotonic() < end:
                self.wfile.write(b" " * MIB if kind == "flood" else b" ")
                time.sleep(0 if kind == "flood" else 0.05)

    def send_file(self, path, file, revision):
        kind = self.broken.kind if self.broken else None
        if kind == "no_ranges":
            del self.headers["Range"]
        if kind == "wrong":  # the right length, one wrong byte
            wrong = self.server.repositories.root.parent / "wrong"
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            wrong.write_bytes(content)
            path = wrong
        super().send_file(path, file, revision)
        if kind == "wrong":
            path.unlink()

    def head(self, status, headers):
        if self.broken and self.broken.kind == "short":  # a shorter body with its own length
            headers["Content-Length"] = str(int(headers["Content-Length"]) - int(self.broken.how["by"]))
        super().head(status, headers)

    def send_body(self, descriptor, start, end):
        self.start, kind = start, self.broken.kind if self.broken else None
        if kind == "short":
            end -= int(self.broken.how["by"])
        if kind == "cut":
            end = min(end, start + int(self.broken.how["after"]))
        self.wfile.flush()
        try:
            while start < end:
                self.server.wait_while_paused()
                if self.server.most_at_a_time and self.size >= self.server.most_at_a_time:
                    select.select([self.connection], [], [])
                sent = os.sendfile(self.connection.fileno(), descriptor, start, min(end - start, 64 * 1024))
                start, self.size = start + sent, self.size + sent
                self.server.out += sent
                self.server.out_of[self.path.rpartition("/")[2]] += sent
                if self.server.bytes_per_second:
                    time.sleep(sent / self.server.bytes_per_second)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            self.close_connection = True
        if kind == "cut":
            # A connection reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()


def make_model(folder: Path, sizes: dict[str, int]) -> None:
    """Write a model with real safetensors headers and random bytes; it is never loaded."""
    folder.mkdir(parents=True)
    for name, size in sizes.items():
        entry = {"t": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}
        header = json.dumps(entry).encode()
        with (folder / name).open("wb") as file:
            file.write(struct.pack("<Q", len(header)) + header)
            for _ in range(0, size, MIB):
                file.write(os.urandom(min(MIB, size)))
            file.truncate(8 + len(header) + size)
    for name in ("config.json", "tokenizer.json", "generation_config.json"):
        (folder / name).write_text(json.dumps({"made for": name}))
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    # Files that a pull must not fetch.
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04pickle")
    (folder / "modeling_own.py").write_text("raise SystemExit('a model ran its own code')")
