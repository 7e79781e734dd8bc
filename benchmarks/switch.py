#!/usr/bin/env python3
"""Measure the overhead of the switch command, and the time of status: `benchmarks/switch.py [HOST] [RUNS]`.

HOST is a lab host's container with deployed agents (default: the host of make demo). Each run switches from one agent
to another and back, with the command and with bare calls. The bare calls are `systemctl stop A && systemctl start
--no-block B` and a wait for /health. The order alternates, so that caches and heat favour neither.

The program prints each sample and compares medians. It exits 1 if the command takes more than 5 % or 0.5 s longer. It
also exits 1 if status takes more than 150 ms, or its imports more than 60 ms.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

LIMITS = {"share": 0.05, "seconds": 0.5, "status": 0.150, "imports": 0.060}
# This program runs on the host with the host's Python.
PROGRAM = """
import json, subprocess, sys, time, urllib.request
first, second, port_1, port_2, runs = *sys.argv[1:3], *map(int, sys.argv[3:])

def run(*words):
    subprocess.run(words, check=True, capture_output=True)

def timed(work, *arguments):
    begun = time.monotonic()
    work(*arguments)
    return time.monotonic() - begun

def command(leaves, comes, port):
    run("roundhouse", comes)

def bare(leaves, comes, port):
    run("systemctl", "stop", f"roundhouse-{leaves}")
    run("systemctl", "start", "--no-block", f"roundhouse-{comes}")
    while True:
        try:
            if urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).status == 200:
                return
        except OSError:
            time.sleep(0.05)

def settled(comes):
    run("systemctl", "start", f"roundhouse-{comes}")  # returns when the unit is ready

imports = "from time import perf_counter as now; t = now(); import roundhouse.cli.main, roundhouse.agents.status; "
imports += "print(now() - t)"
folder = subprocess.run(["readlink", "-f", "/usr/local/bin/roundhouse"], capture_output=True, text=True).stdout
folder = folder.rpartition("/")[0]
run("roundhouse", first)
found = {"command": [], "bare": [], "status": [], "imports": []}
for number in range(runs):
    both = [("bare", bare), ("command", command)]
    for name, work in both if number % 2 == 0 else reversed(both):
        for leaves, comes, port in ((first, second, port_2), (second, first, port_1)):
            found[name].append(timed(work, leaves, comes, port))
            settled(comes)
for _ in range(15):
    found["status"].append(timed(run, "roundhouse", "status"))
    python = ["python3", "-c", imports]
    found["imports"].append(float(subprocess.run(python, cwd=folder, capture_output=True, text=True).stdout))
print(json.dumps(found))
"""


def samples(name: str, values: list[float]) -> str:
    """Return the number of samples, their spread, and each sample in order."""
    spread = f"min {min(values):.3f} s, median {statistics.median(values):.3f} s, max {max(values):.3f} s"
    return f"{name:8} n={len(values)}: {spread} ({' '.join(f'{value:.3f}' for value in values)})"


def main(host: str = "roundhouse-lab", runs: str = "2") -> int:
    """Run the benchmark and return its exit status."""
    read = ["docker", "exec", host, "cat", "/etc/roundhouse/plan.json"]
    seen = subprocess.run(read, capture_output=True, text=True, check=False)
    if seen.returncode != 0:
        print(f"{host} is not a running host with agents. Start the lab's host with `make demo`.", file=sys.stderr)
        return 2
    plan = json.loads(seen.stdout)
    first, second = plan["agents"][:2]
    words = [first["name"], second["name"], str(first["port"]), str(second["port"]), runs]
    command = ["docker", "exec", "--interactive", host, "python3", "-", *words]
    done = subprocess.run(command, input=PROGRAM, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    middle = {name: statistics.median(values) for name, values in found.items()}
    print("\n".join(samples(name, values) for name, values in found.items()))
    cost = middle["command"] - middle["bare"]
    ratio = f"{middle['command'] / middle['bare']:.3f} of the bare switch"
    print(f"the switch's own cost, canary included, by medians: {cost:+.2f} s, {ratio}")
    allowed = max(LIMITS["seconds"], LIMITS["share"] * middle["bare"])
    well = cost <= allowed and all(middle[name] <= LIMITS[name] for name in ("status", "imports"))
    return 0 if well else 1


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:3]))
