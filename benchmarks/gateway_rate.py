#!/usr/bin/env python3
"""Measure the gateway's requests per second and processor time beside an HAProxy that only forwards.

    benchmarks/gateway_rate.py [ROUNDS]

Each round asks the engine, the forwarder and the gateway in turn. There are 1, 16 and 128 connections, and prompts of
200 B, 20 KB and 400 KB. Each connection sends its next request when it has the answer. The program prints medians, and
the medians of the ratios of each round, so that a busy moment affects both. It exits 1 if a limit is missed.
"""

from __future__ import annotations

import json
import selectors
import socket
import statistics
import sys
import time
from typing import NamedTuple

from gateway_stand import Way, ways

CONNECTIONS = (1, 16, 128)
PROMPTS = (200, 20_000, 400_000)
SECONDS = 1.0
# The gateway beside the forwarder.
LEAST_RATE, LATER_MS, MOST_CPU = 0.9, 0.15, 1.3
HEAD = "prompt, connections | way | requests/s (min-max) | ratio | ms | later | CPU s per 1,000 | ratio"


class Found(NamedTuple):
    """Requests per second, the median time of a request in ms, and processor seconds per 1,000 requests."""

    rate: float
    ms: float
    cpu: float


class Client:
    """One connection, which sends the same request again as soon as it has the answer."""

    def __init__(self, port: int, request: bytes) -> None:
        self._line = socket.create_connection(("127.0.0.1", port))
        self._line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request, self._got, self.sent_at = request, 0, 0.0
        self._size = 0

    def fileno(self) -> int:
        """Return the socket's number, for a selector."""
        return self._line.fileno()

    def send(self) -> None:
        """Send the request."""
        self._got, self.sent_at = 0, time.perf_counter()
        self._line.sendall(self._request)

    def is_answered(self) -> bool:
        """Read what has arrived, and return whether the answer is complete."""
        part = self._line.recv(65536)
        if not part:
            raise SystemExit("the connection was closed")
        if not self._size:
            self._size = _size(part)
        self._got += len(part)
        return self._got >= self._size

    def close(self) -> None:
        """Close the connection."""
        self._line.close()


def _size(answer: bytes) -> int:
    """Return the size of an answer, whose headers are in its first part."""
    head, _, _ = answer.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    if b" 200 " not in lines[0]:
        raise SystemExit(f"the answer is {answer[:300]!r}")
    (length,) = (int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length"))
    return len(head) + 4 + length


def request(size: int) -> bytes:
    """Return a request with a prompt of `size` bytes; `model` follows it, as OpenAI's client sends it."""
    body = json.dumps({"prompt": "x" * size, "max_tokens": 1, "model": "dev"}).encode()
    lines = ["POST /v1/completions HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
    return head.encode() + body


def load(way: Way, connections: int, sent: bytes) -> Found:
    """Ask for SECONDS and return what was measured."""
    clients = [Client(way.port, sent) for _ in range(connections)]
    times: list[float] = []
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client, selectors.EVENT_READ)
        cpu, begun = way.cpu_seconds(), time.perf_counter()
        for client in clients:
            client.send()
        while time.perf_counter() < begun + SECONDS:
            for key, _ in selector.select(1):
                client = key.fileobj
                if isinstance(client, Client) and client.is_answered():
                    times.append(time.perf_counter() - client.sent_at)
                    client.send()
        took, cpu = time.perf_counter() - begun, way.cpu_seconds() - cpu
    for client in clients:
        client.close()
    return Found(len(times) / took, 1000 * statistics.median(times), 1000 * cpu / len(times))


def compare(found: dict[str, list[Found]], label: str) -> bool:
    """Print the rows of one case, and return whether the gateway keeps the limits."""
    for name, each in found.items():
        rates, ms, cpus = zip(*each, strict=True)
        rate = statistics.median(one.rate / base.rate for one, base in zip(each, found["forwarder"], strict=True))
        later = statistics.median(one.ms - base.ms for one, base in zip(each, found["forwarder"], strict=True))
        bases = [max(base.cpu, 1e-6) for base in found["forwarder"]]
        cpu = statistics.median(one / base for one, base in zip(cpus, bases, strict=True))
        sys.stdout.write(
            f"{label} | {name:9} | {statistics.median(rates):7.0f} ({min(rates):.0f}-{max(rates):.0f}) | {rate:5.2f} | "
            f"{statistics.median(ms):7.2f} | {later:+6.2f} | {statistics.median(cpus):6.3f} | {cpu:5.2f}\n"
        )
    sys.stdout.flush()
    return rate >= LEAST_RATE and later <= LATER_MS and cpu <= MOST_CPU


def main(rounds: int = 5) -> int:
    """Run the benchmark and return its exit status."""
    sys.stdout.write(
        "prompt, connections | way | requests/s (min-max) | ratio | ms | later | CPU s per 1,000 | ratio\n"
    )
    kept = []
    with ways() as each_way:
        for size in PROMPTS:
            for connections in CONNECTIONS:
                found: dict[str, list[Found]] = {way.name: [] for way in each_way}
                for number in range(rounds):
                    turn = number % len(each_way)
                    for way in each_way[turn:] + each_way[:turn]:
                        found[way.name].append(load(way, connections, request(size)))
                kept.append(compare(found, f"{size:6} B, {connections:3}"))
    limits = f"rate {LEAST_RATE}, {LATER_MS} ms later, CPU {MOST_CPU}"
    sys.stdout.write(f"limits beside the forwarder: {limits}; {sum(kept)} of {len(kept)} rows keep them\n")
    return 0 if all(kept) else 1


if __name__ == "__main__":
    raise SystemExit(main(*map(int, sys.argv[1:2])))
