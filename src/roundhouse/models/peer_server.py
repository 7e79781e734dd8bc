"""Serve a store over HTTP, read-only, with the part of the hub's protocol that a download uses.

One host of an inventory shares its models with the others while they pull. The lab's hub is the same server with
different folders. Every request needs the token, unless the server has none (on loopback).
"""

from __future__ import annotations

import hmac
import io
import json
import os
import re
import secrets
import socket
import struct
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit

from ..errors import RoundhouseError
from ..util import deadline
from . import manifest, store
from .manifest import UNREADABLE_MANIFEST, File

if TYPE_CHECKING:
    from socketserver import _AfInetAddress as Address
    from socketserver import _RequestType as Request

_ROUTE = re.compile(
    r"/(?:api/models/)?(?P<model>\w[\w.-]*/\w[\w.-]*)/(?P<verb>revision|tree|resolve)/(?P<revision>[\w.-]+)(?:/(?P<path>.+))?"
)
# Contains the current server's ID. A server exits if the file is missing or contains a different ID.
CURRENT = Path("/run/roundhouse/offer")
# A request must arrive within this time, and a client must take some bytes of an answer within SEND_SECONDS.
REQUEST_SECONDS, SEND_SECONDS = 15.0, 60.0
# A pull opens 4 connections, and the hosts of an inventory pull at the same time.
CONNECTIONS, CONNECTIONS_OF_ADDRESS = 256, 32
# A killed play cannot stop its server, so a server without requests exits after this time.
IDLE_SECONDS = 300.0


class Repositories(Protocol):
    """The shared models: by name, revision and file."""

    def revision(self, model: str, asked: str) -> str | None:
        """Return the 40-hex revision of a branch or a commit, None for an unknown one."""

    def has(self, model: str) -> bool:
        """Return true if the model exists, in any revision."""

    def files(self, model: str, revision: str) -> list[File]:
        """Return the files of a revision."""

    def path(self, model: str, revision: str, name: str) -> Path:
        """Return the path of a file."""


class Server(ThreadingHTTPServer):
    """Serve repositories on an address, and track the time without requests that have the token."""

    daemon_threads = True
    request_queue_size = 128  # otherwise the kernel drops connections of hosts that begin at the same time

    def __init__(
        self, address: tuple[str, int], repositories: Repositories, token: str | None, handler: type[Handler]
    ) -> None:
        self.repositories, self.token = repositories, token
        self.lock = threading.Lock()
        self.requests = 0  # in progress
        self.asked_at = time.monotonic()
        self.connected: Counter[str] = Counter()  # by address
        super().__init__(address, handler)

    def process_request(self, request: Request, client_address: Address) -> None:
        """Answer a connection in a thread, or close it if there are too many."""
        host = str(client_address[0])
        with self.lock:
            if sum(self.connected.values()) < CONNECTIONS and self.connected[host] < CONNECTIONS_OF_ADDRESS:
                self.connected[host] += 1
                return super().process_request(request, client_address)
        return self.shutdown_request(request)

    def process_request_thread(self, request: Request, client_address: Address) -> None:
        """Answer the requests of a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self.lock:
                self.connected -= Counter([str(client_address[0])])  # without addresses that have none

    def is_idle(self) -> bool:
        """Return true if there was no request for IDLE_SECONDS."""
        return not self.requests and time.monotonic() - self.asked_at > IDLE_SECONDS

    def count(self, change: int) -> None:
        """Count a request that begins (1) or ends (-1)."""
        with self.lock:
            self.requests += change
            self.asked_at = time.monotonic()


class Handler(BaseHTTPRequestHandler):
    """Answer GET and HEAD, the methods of a download."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise each small file waits 40 ms for the acknowledgement of its headers
    server: Server

    def setup(self) -> None:
        """Limit the time for a request to arrive, and for the client to take an answer."""
        super().setup()
        self._end = time.monotonic() + REQUEST_SECONDS
        self.rfile = io.BufferedReader(deadline.Reader(self.connection, lambda: self._end))
        limit = struct.pack("ll", int(SEND_SECONDS), 0)  # struct timeval
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def handle_one_request(self) -> None:
        """Answer the next request of the connection; end it if none arrives in time, or the client takes no bytes."""
        self._end = time.monotonic() + REQUEST_SECONDS
        try:
            super().handle_one_request()
        except (BlockingIOError, ConnectionError):
            self.close_connection = True

    def do_GET(self) -> None:
        """Answer the request, and count it while it is in progress."""
        given = self.headers.get("Authorization", "")
        if self.server.token and not hmac.compare_digest(given.encode(), f"Bearer {self.server.token}".encode()):
            self.refuse(401, "RepoNotFound")
            return
        self.server.count(1)
        try:
            self.route()
        except RoundhouseError as error:  # a manifest that cannot be read
            self.reply(b"{}", UNREADABLE_MANIFEST, {"X-Error-Message": " ".join(error.message.split())})
        finally:
            self.server.count(-1)

    do_HEAD = do_GET

    def route(self) -> None:
        """Answer the request for a path."""
        found = _ROUTE.fullmatch(unquote(urlsplit(self.path).path))
        if found is None or not self.server.repositories.has(found["model"]):
            self.refuse(404, "RepoNotFound")
        elif (revision := self.server.repositories.revision(found["model"], found["revision"])) is None:
            self.refuse(404, "RevisionNotFound")
        else:
            self.answer(found["verb"], found["model"], revision, found["path"] or "")

    def answer(self, verb: str, model: str, revision: str, name: str) -> None:
        """Answer a request for an existing revision."""
        files = self.server.repositories.files(model, revision)
        if verb == "revision":
            self.reply(json.dumps({"id": model, "sha": revision}).encode())
        elif verb == "tree":
            self.reply(json.dumps([_entry(file) for file in files]).encode())
        elif file := next((file for file in files if file.path == name), None):
            self.send_file(self.server.repositories.path(model, revision, name), file, revision)
        else:
            self.refuse(404, "EntryNotFound")

    def send_file(self, path: Path, file: File, revision: str) -> None:
        """Send a file or the requested range of it, without reading it into memory."""
        etag = file.checksum.partition(":")[2]
        headers = {"X-Repo-Commit": revision, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, end = (int(wanted[1]), int(wanted[2] or file.size - 1) + 1) if wanted else (0, file.size)
        if wanted:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
        self.head(206 if wanted else 200, {**headers, "Content-Length": str(end - start)})
        if self.command != "HEAD":
            with path.open("rb") as content:
                self.send_body(content.fileno(), start, end)

    def send_body(self, descriptor: int, start: int, end: int) -> None:
        """Send the bytes from `start` up to `end` (exclusive) of an open file."""
        self.wfile.flush()
        while start < end:
            sent = os.sendfile(self.connection.fileno(), descriptor, start, end - start)
            if not sent:
                return
            start += sent

    def refuse(self, status: int, code: str) -> None:
        """Answer with an error code of the hub."""
        self.reply(b"{}", status, {"X-Error-Code": code})

    def reply(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """Send status, headers and the body; no body for HEAD."""
        self.head(status, {**(headers or {}), "Content-Length": str(len(body))})
        if self.command != "HEAD":
            self.wfile.write(body)

    def head(self, status: int, headers: dict[str, str]) -> None:
        """Send status and headers."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Discard the log line, because there is one per request."""


def _entry(file: File) -> dict[str, object]:
    """Return a file's entry in the hub's format of a tree."""
    kind, _, value = file.checksum.partition(":")
    found: dict[str, object] = {"type": "file", "path": file.path, "size": file.size, "oid": value[:40]}
    if kind == "sha256":
        found["lfs"] = {"oid": value, "size": file.size, "pointerSize": 134}
    return found


class StoreRepositories:
    """Provide the verified models of a store, by their manifests."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def has(self, model: str) -> bool:
        """Return true if the store has a revision of the model."""
        return bool(store.manifests(self.place, model))

    def revision(self, model: str, asked: str) -> str | None:
        """Return the revision; for a branch, the last pulled one. None for an unknown one."""
        found = [each for each in store.manifests(self.place, model) if asked in (each.revision, each.asked)]
        return found[0].revision if found else None

    def files(self, model: str, revision: str) -> list[File]:
        """Return the files of a revision."""
        held = manifest.read(store.folder(self.place, model, revision))
        return held.files if held else []

    def path(self, model: str, revision: str, name: str) -> Path:
        """Return the path of a file."""
        return store.folder(self.place, model, revision) / name


def serve(place: Path, port: int, token: str, current: Path = CURRENT) -> None:
    """Serve the store until `stop`, a newer server, or IDLE_SECONDS without a request. Raises RoundhouseError."""
    own = secrets.token_hex(8)
    current.parent.mkdir(parents=True, exist_ok=True)
    current.write_text(own)
    server = _bound(place, port, token)
    with server:
        server.timeout = 0.5
        while current.exists() and current.read_text() == own and not server.is_idle():
            server.handle_request()


def stop(current: Path = CURRENT) -> None:
    """Stop the current server; it exits within a second."""
    current.unlink(missing_ok=True)


def _bound(place: Path, port: int, token: str) -> Server:
    """Return the server; wait up to 10 s for an earlier server to release the port. Raises RoundhouseError."""
    reason = None
    for _ in range(20):
        try:
            # It listens on all interfaces, because the route to the other hosts is unknown. The token protects it.
            return Server(("", port), StoreRepositories(place), token, Handler)
        except OSError as error:
            reason = error.strerror
        time.sleep(0.5)
    raise RoundhouseError(
        "share_port_unavailable",
        "Cannot listen on port {port} ({reason}).",
        "Set models_share_port to a free port.",
        port=port,
        reason=reason,
    )
