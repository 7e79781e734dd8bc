#!/usr/bin/env python3
"""Send requests to two agents in turn for ten minutes: `benchmarks/on_demand.py [SECONDS] [CONTAINER] [AGENT ...]`.

The host is one of molecule's scenario gateway (fake engines, real units, real HAProxy), deployed with
`gateway_on_demand: true`. The program prints the number of switches and the longest wait with their limits, and exits 1
if a limit is exceeded.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
import time

from roundhouse.paths import CHECKOUT as ROOT

sys.path.insert(0, str(ROOT / "molecule"))
import promises
from many_clients import Found, ManyClients

from roundhouse.gateway import on_demand
from roundhouse.gateway.scheduler import longest_wait_seconds

CLIENTS, PAUSE_SECONDS, KEYS = 8, 0.5, 4


def inside(container: str, *words: str) -> str:
    """Return a command's output on the host."""
    done = subprocess.run(["docker", "exec", container, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def address(container: str) -> str:
    """Return the host's address."""
    template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    words = ["docker", "container", "inspect", "--format", template, container]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def switches(container: str) -> list[dict[str, object]]:
    """Return the host's switches so far."""
    return list(json.loads(inside(container, "roundhouse", "history", "-n", "1000", "--json"))["switches"])


def main(seconds: float = 600, container: str = "roundhouse-gate-bookworm", *agents: str) -> int:
    """Run the benchmark and return its exit status."""
    names = list(agents) or ["dev", "po"]
    rules = on_demand.settings(json.loads(inside(container, "cat", str(on_demand.PATH))))
    tls = ssl.create_default_context(cadata=inside(container, "cat", "/etc/roundhouse/gateway/tls.pem"))
    made = [f"client-{time.monotonic_ns()}-{number}"[-32:] for number in range(KEYS)]
    keys = [inside(container, "roundhouse", "keys", "add", name) for name in made]
    before = len(switches(container))
    try:
        clients = ManyClients(f"https://{address(container)}:8080/v1", keys, tls, names)
        begun = time.monotonic()
        asked = asyncio.run(clients.run(float(seconds), CLIENTS, PAUSE_SECONDS))
        took = time.monotonic() - begun
    finally:
        for name in made:
            inside(container, "roundhouse", "keys", "revoke", name)
    done = switches(container)[before:]
    longest = max((sum(each["stages"].values()) for each in done), default=0.0) + 3  # the command's own time
    found = Found(
        asked,
        len(done),
        promises.most_switches(rules, took),
        max(each.waited_seconds for each in asked),
        longest_wait_seconds(rules, len(names), longest),
    )
    sys.stdout.write(f"{rules.min_active_seconds:g} s at least, {rules.max_wait_seconds:g} s at most: ")
    sys.stdout.write(f"{found.text(took)}; a switch took at most {longest:.1f} s\n")
    return 0 if found.kept() else 1


if __name__ == "__main__":
    raise SystemExit(main(*(float(each) if at == 0 else each for at, each in enumerate(sys.argv[1:]))))
