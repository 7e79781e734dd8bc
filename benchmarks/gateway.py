#!/usr/bin/env python3
"""What the gateway costs: `benchmarks/gateway.py [ROUNDS]`, on an idle machine, with HAProxy and the fake engine.

Streams of the same request, to the engine's own port and through the gateway's one of all agents, in turn, at 1, 16 and
128 connections, each with some streams one after the other. They begin evenly over the time of one stream, as clients
do who know nothing of each other: all at the same instant would measure how fast the fake engine reads a crowd's
requests. Each round is printed; medians are compared. Exits 1 when the first token comes more than 0.5 ms later, or when
less than 97 % of the tokens a second come through.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests/unit")]
from real_gateway import Gateway, until

from roundhouse import gateway, gateway_config, state

CONNECTIONS = (1, 16, 128)
STREAMS = 3
TOKENS = 100
# As a card gives to each of many requests; the fake engine, in Python, is far from its end with all of them.
TOKENS_PER_SECOND = 50
LATER_MS, SHARE = 0.5, 0.97


class Round(NamedTuple):
    """Seconds to the first token of each stream, and tokens a second of all."""

    first: list[float]
    rate: float


async def stream(port: int) -> tuple[float, int]:
    """Return the seconds to the first event of a stream and the number of its events."""
    body = json.dumps({"model": "dev", "prompt": "go on", "max_tokens": TOKENS, "stream": True})
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    begun = time.perf_counter()
    writer.write(f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    seconds, events = 0.0, 0
    while (line := await reader.readline()) and b"[DONE]" not in line:
        if line.startswith(b"data:"):
            events += 1
            seconds = seconds or time.perf_counter() - begun
    writer.close()
    return seconds, events


async def streams(port: int, after: float) -> list[tuple[float, int]]:
    """Run the streams of one connection, the first after some seconds."""
    await asyncio.sleep(after)
    return [await stream(port) for _ in range(STREAMS)]


async def ask(port: int, connections: int) -> Round:
    """Run that many connections."""
    begun, apart = time.perf_counter(), TOKENS / TOKENS_PER_SECOND / connections
    many = await asyncio.gather(*(streams(port, number * apart) for number in range(connections)))
    found = [each for one in many for each in one]
    events = sum(count for _, count in found)
    if events != connections * STREAMS * TOKENS:
        raise SystemExit(f"{events} tokens came of {connections * STREAMS * TOKENS}")
    return Round([seconds for seconds, _ in found], events / (time.perf_counter() - begun))


def compare(direct: int, through: int, connections: int, rounds: int) -> bool:
    """Measure in turn, print, and return whether the promises are kept."""
    found: dict[str, list[Round]] = {"direct": [], "gateway": []}
    for number in range(rounds):
        ways = [("direct", direct), ("gateway", through)]
        for name, port in ways if number % 2 == 0 else reversed(ways):
            found[name].append(asyncio.run(ask(port, connections)))
            last = found[name][-1]
            sys.stdout.write(f"  {name:7} {1000 * statistics.median(last.first):8.2f} ms {last.rate:9.1f} tokens/s\n")
    first = {name: 1000 * statistics.median(each for one in many for each in one.first) for name, many in found.items()}
    rate = {name: statistics.median(one.rate for one in many) for name, many in found.items()}
    later, share = first["gateway"] - first["direct"], rate["gateway"] / rate["direct"]
    sys.stdout.write(
        f"{connections} connections: first token {later:+.2f} ms (at most {LATER_MS}), "
        f"{share:.1%} of the tokens a second (at least {SHARE:.0%})\n"
    )
    return later <= LATER_MS and share >= SHARE


def main(rounds: int = 6) -> int:
    """Return the exit status."""
    with tempfile.TemporaryDirectory() as folder:
        gateway_config.FOLDER = gateway.RUNTIME = folder
        state.FOLDER = Path(folder)
        state.record("dev", ["po"])
        stand = Gateway(Path(folder)).start()
        try:
            stand.serve("dev", "--tokens-per-second", str(TOKENS_PER_SECOND))
            until(lambda: stand.complete("dev").status == 200)
            engine = int(stand.plan["agents"][0]["engine_port"])
            kept = [compare(engine, stand.ports.any, each, rounds) for each in CONNECTIONS]
        finally:
            stand.end()
    return 0 if all(kept) else 1


if __name__ == "__main__":
    raise SystemExit(main(*map(int, sys.argv[1:2])))
