#!/usr/bin/env python3
"""Measure the gateway's cost on an idle machine, with HAProxy and the fake engine: `benchmarks/gateway.py [ROUNDS]`.

The same request is streamed in turn from the engine's own port, through an HAProxy that only forwards, and through the
gateway's common port. Each level has 1, 16 or 128 connections with several consecutive streams. The plain HAProxy shows
this machine's cost of two more hops, and the rest is the gateway's own cost. Connections start evenly over the time of
one stream, like independent clients. A simultaneous start would measure how fast the fake engine reads many requests.
All streams together have TOKENS_PER_SECOND, as on a card.

The program prints each round and compares medians. It exits 1 if the first token is more than 0.5 ms later than from
the engine, or if the token rate is below 97 %.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from roundhouse.paths import CHECKOUT as ROOT

sys.path.insert(0, str(ROOT / "tests/unit"))
from gateway_stand import FORWARDER
from real_gateway import Gateway, free_port, is_free, until

from roundhouse.gateway import config as gateway_config
from roundhouse.gateway import haproxy
from roundhouse.state import serving

CONNECTIONS = (1, 16, 128)
STREAMS, TOKENS = 3, 50
# Of all streams together: the rate of a 16 GB card with many requests, far below the limit of the fake engine.
TOKENS_PER_SECOND = 1600
# The limit of one stream.
MOST_OF_ONE = 200
LATER_MS, SHARE = 0.5, 0.97


class Round(NamedTuple):
    """The seconds to the first token of each stream, and the tokens per second of all streams."""

    first: list[float]
    rate: float


async def stream(port: int) -> tuple[float, int]:
    """Return the seconds to the first event of a stream and the number of its events."""
    body = json.dumps({"model": "dev", "prompt": "go on", "max_tokens": TOKENS, "stream": True})
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    begun = time.perf_counter()
    writer.write(
        f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    seconds, events = 0.0, 0
    while (line := await reader.readline()) and b"[DONE]" not in line:
        if line.startswith(b"data:"):
            events += 1
            seconds = seconds or time.perf_counter() - begun
    writer.close()
    return seconds, events


async def streams(port: int, after: float) -> list[tuple[float, int]]:
    """Run the streams of one connection after a delay in seconds."""
    await asyncio.sleep(after)
    return [await stream(port) for _ in range(STREAMS)]


async def ask(port: int, connections: int) -> Round:
    """Run `connections` connections and return the measurement."""
    begun, apart = time.perf_counter(), TOKENS / rate_of_one(connections) / connections
    many = await asyncio.gather(*(streams(port, number * apart) for number in range(connections)))
    found = [each for one in many for each in one]
    events = sum(count for _, count in found)
    if events != connections * STREAMS * TOKENS:
        raise SystemExit(f"{events} tokens came of {connections * STREAMS * TOKENS}")
    return Round([seconds for seconds, _ in found], events / (time.perf_counter() - begun))


def rate_of_one(connections: int) -> float:
    """Return the tokens per second of one stream."""
    return min(MOST_OF_ONE, TOKENS_PER_SECOND / connections)


def compare(ways: dict[str, int], connections: int, rounds: int) -> bool:
    """Measure in turn, print, and return whether the limits are kept."""
    found: dict[str, list[Round]] = {name: [] for name in ways}
    for number in range(rounds):
        order = [*ways]
        for name in order[number % 3 :] + order[: number % 3]:
            found[name].append(asyncio.run(ask(ways[name], connections)))
            last = found[name][-1]
            sys.stdout.write(f"  {name:7} {1000 * statistics.median(last.first):8.2f} ms {last.rate:9.1f} tokens/s\n")
    first = {name: 1000 * statistics.median(each for one in many for each in one.first) for name, many in found.items()}
    rate = {name: statistics.median(one.rate for one in many) for name, many in found.items()}
    later = {name: first[name] - first["engine"] for name in ways}
    share = {name: rate[name] / rate["engine"] for name in ways}
    sys.stdout.write(
        f"{connections} connections: first token {later['gateway']:+.2f} ms (at most {LATER_MS}; "
        f"only forwarded {later['bare']:+.2f}), {share['gateway']:.1%} of the tokens a second (at least {SHARE:.0%}; "
        f"only forwarded {share['bare']:.1%})\n"
    )
    return later["gateway"] <= LATER_MS and share["gateway"] >= SHARE


@contextmanager
def forwarding(folder: Path, engine: int) -> Iterator[int]:
    """Run an HAProxy that only forwards; yield its port."""
    port, config = free_port(), folder / "bare.cfg"
    config.write_text(FORWARDER.format(port=port, engine=engine))
    with subprocess.Popen(["haproxy", "-f", config]) as process:
        try:
            until(lambda: not is_free(port))
            yield port
        finally:
            process.terminate()


def measured(stand: Gateway, connections: int, rounds: int) -> bool:
    """Start an engine with this level's rate and compare."""
    stand.serve("dev", "--tokens-per-second", str(rate_of_one(connections)))
    until(lambda: stand.complete("dev").status == 200)
    engine = int(stand.plan["agents"][0]["engine_port"])
    with forwarding(stand.folder, engine) as bare:
        return compare({"engine": engine, "bare": bare, "gateway": stand.ports.any}, connections, rounds)


def main(rounds: int = 6) -> int:
    """Run the benchmark and return its exit status."""
    kept = []
    for connections in CONNECTIONS:
        with tempfile.TemporaryDirectory() as folder:
            gateway_config.FOLDER = haproxy.RUNTIME = folder
            serving.FOLDER = Path(folder)
            serving.record("dev", ["po"])
            stand = Gateway(Path(folder)).start()
            try:
                kept.append(measured(stand, connections, rounds))
            finally:
                stand.end()
    return 0 if all(kept) else 1


if __name__ == "__main__":
    raise SystemExit(main(*map(int, sys.argv[1:2])))
