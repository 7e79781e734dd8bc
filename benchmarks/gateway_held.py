#!/usr/bin/env python3
"""Measure what held requests cost: `benchmarks/gateway_held.py [REQUESTS]`, 1,000 by default, of 20 KB each.

The agent's engine is not up yet, so the gateway holds all of them. Then the engine starts, and each request is
answered. The program exits 1 if a limit is missed.
"""

from __future__ import annotations

import sys
import time

from gateway_rate import Client, request
from gateway_stand import Way, engine, gateway, worker
from real_gateway import until

from roundhouse.gateway import haproxy

PROMPT_BYTES = 20_000
HELD_SECONDS = 5.0
# Cores used while held; ms from the first answer to the last; resident memory.
MOST_CORES, LAST_MS, MOST_MIB = 0.1, 400, 70


def main(number: int = 1000) -> int:
    """Run the benchmark and return its exit status."""
    with gateway(waiting=number, wait_seconds=600) as made:
        way = Way("gateway", made.ports.any, worker(made))
        clients = [Client(way.port, request(PROMPT_BYTES)) for _ in range(number)]
        for client in clients:
            client.send()
        until(lambda: f"waiting dev {number} " in _waiting())
        cpu = way.cpu_seconds()
        time.sleep(HELD_SECONDS)
        cores, memory = (way.cpu_seconds() - cpu) / HELD_SECONDS, way.resident_mib()
        with engine(made):
            released = time.perf_counter()
            for client in clients:
                while not client.is_answered():
                    pass
            last = 1000 * (time.perf_counter() - released)
    rows = (
        ("held requests", number, ""),
        ("cores while held", f"{cores:.3f}", MOST_CORES),
        ("ms from the release to the last answer", f"{last:.0f}", LAST_MS),
        ("MiB", memory, MOST_MIB),
    )
    for name, value, most in rows:
        sys.stdout.write(f"{name:40} {value} {f'(at most {most})' if most else ''}\n")
    return 0 if cores <= MOST_CORES and last <= LAST_MS and memory <= MOST_MIB else 1


def _waiting() -> str:
    return "".join(haproxy.ask_workers(["roundhouse waiting"]))


if __name__ == "__main__":
    raise SystemExit(main(*map(int, sys.argv[1:2])))
