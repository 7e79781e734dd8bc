#!/usr/bin/env python3
"""Measure the gateway's memory under load and its limits before a key: `benchmarks/gateway_limits.py [TOKENS]`.

HAProxy runs with the role's templates on loopback, as beyond loopback but without TLS. TOKENS is the longest context of
an agent, which sets the size of a buffer. Each source is an address of 127.0.0.0/8. The program prints:

- HAProxy's resident memory when it is idle
- with 1,000 sources that each fill a buffer with headers that do not end, and after these have left
- with 100 held requests of 400 KB, and after these
- the number of connections that one source without a key keeps open
- the number of connections that many such sources together keep open

It exits with 1 if HAProxy used more than its memory limit (gateway_memory_mib) or a client with a key got no answer.
"""

from __future__ import annotations

import json
import os
import re
import resource
import select
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from roundhouse.paths import CHECKOUT as ROOT

sys.path.insert(0, str(ROOT / "tests/unit"))
import pytest
from real_gateway import Gateway, create_files, until

from roundhouse.gateway import haproxy, haproxy_config, keys

SOURCES, HELD, HELD_BYTES = 1000, 100, 400_000
EVERYWHERE = "0.0.0.0"  # noqa: S104 - beyond loopback
SECONDS = 60
_FILL_SECONDS = 20


def rss_mib() -> float:
    """Return the resident memory of HAProxy's worker."""
    (worker,) = [*haproxy._workers()]
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{worker}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def show(what: str, value: str) -> None:
    """Print one row."""
    sys.stdout.write(f"{what:66} {value}\n")
    sys.stdout.flush()


def address(number: int) -> str:
    """Return a source of its own for each number."""
    return f"127.{1 + number // 60_000}.{number // 250 % 240}.{1 + number % 250}"


def fill(line: socket.socket, size: int) -> None:
    """Send headers without an end, until HAProxy reads no more or closes the connection."""
    with suppress(OSError):
        line.settimeout(0.5)
        line.sendall(b"GET / HTTP/1.1\r\nX: " + b"a" * size)


@contextmanager
def sources(table: Gateway, size: int) -> Iterator[list[socket.socket]]:
    """Open the connections of many sources that each send `size` bytes of headers."""
    lines = [socket.create_connection(("127.0.0.1", table.ports.any), SECONDS, (address(n), 0)) for n in range(SOURCES)]
    senders = [threading.Thread(target=fill, args=(line, size)) for line in lines]
    for each in senders:
        each.start()
    for each in senders:
        each.join(_FILL_SECONDS)
    yield lines
    for line in lines:
        line.close()


def held(table: Gateway, key: str) -> float:
    """Hold requests and return the memory meanwhile."""
    table.publish(po="wait:5")
    body = json.dumps({"model": "po", "prompt": "a" * HELD_BYTES})
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(HELD):
            line = stack.enter_context(socket.create_connection(("127.0.0.1", table.ports.any), SECONDS))
            line.sendall(head.encode() + body.encode())
        until(lambda: haproxy.read(["po"])["po"].waiting == HELD)
        return rss_mib()


def kept_open(table: Gateway, source: str | None, number: int) -> int:
    """Open connections of one source, or of a new one each, and return how many the gateway does not close."""
    with ExitStack() as stack:
        lines = []
        for each in range(number):
            with suppress(ConnectionResetError):  # it is closed already
                line = socket.create_connection(("127.0.0.1", table.ports.any), SECONDS, (source or address(each), 0))
                lines.append(stack.enter_context(line))
        time.sleep(2)
        events = select.poll()
        for line in lines:
            events.register(line, select.POLLIN)
        return len(lines) - len(events.poll(0))  # a line from which something can be read is closed


def answers(table: Gateway, key: str) -> bool:
    """Return whether a client with a key is answered."""
    try:
        return bool(table.ask("GET", "/v1/models", Authorization=f"Bearer {key}", timeout=5).status == 200)
    except OSError:
        return False


def measure(table: Gateway) -> bool:
    """Measure all, print it, and return whether the limits held."""
    key, text = keys.load()["default"], haproxy_config.path().read_text()
    buffer = int(re.findall(r"tune.bufsize (\d+)", text)[0])
    connections = int(re.findall(r"maxconn (\d+)", text.partition("frontend API")[2])[0])
    show("buffer of a connection, and number of connections", f"{buffer / 2**20:.2f} MiB, {connections}")
    kept, peaks = [answers(table, key)], [rss_mib()]
    show("idle", f"{peaks[0]:.0f} MiB")
    with sources(table, buffer * 9 // 10) as lines:
        peaks.append(rss_mib())
        kept.append(answers(table, key))
        show(f"{len(lines)} sources without a key fill their buffers", f"{peaks[-1]:.0f} MiB")
    time.sleep(2)
    show("after these have left", f"{rss_mib():.0f} MiB")
    peaks.append(held(table, key))
    show(f"{HELD} held requests of {HELD_BYTES // 1000} KB", f"{peaks[-1]:.0f} MiB")
    time.sleep(4)
    show("after these have left", f"{rss_mib():.0f} MiB")
    show("open connections of one source without a key, of 200", str(kept_open(table, "127.9.0.1", 200)))
    many = connections + 200
    show(f"open connections of {many} sources without a key", str(kept_open(table, None, many)))
    kept.append(answers(table, key))
    show(
        "a client with a key is answered, idle, meanwhile and after", " ".join("yes" if each else "no" for each in kept)
    )
    return all(kept) and max(peaks) < table.settings.memory_mib


def main(tokens: int = 4096) -> int:
    """Run the benchmark and return its exit status."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (20_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "262144")  # as the unit
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        create_files(Path(folder), patch)
        keys.ensure()
        table = Gateway(Path(folder), listen=EVERYWHERE, tls=False, waiting=HELD)
        for agent in table.plan["agents"]:
            agent["max_model_len"] = tokens
        try:
            return 0 if measure(table.start()) else 1
        finally:
            table.end()


if __name__ == "__main__":
    raise SystemExit(main(*map(int, sys.argv[1:2])))
