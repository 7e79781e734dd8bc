#!/usr/bin/env python3
"""How long the plan of 100 agents on 8 GPUs takes, on one core, with nothing cached: `benchmarks/plan.py`.

Each run is a process of its own, because the fit remembers what it was asked. Prints milliseconds of planner.build
alone (imports and the interpreter's start are not planning), and exits 1 when the median is above the limit.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

RUNS = 15
LIMIT_MS = 50.0
ONE_RUN = """
import sys, time
sys.path.insert(0, sys.argv[1])
from roundhouse import decision, planner
from roundhouse.cards import HostCard

sizes = ("32B-Instruct", "32B-Instruct-AWQ", "14B-Instruct-GPTQ-Int8", "14B-Instruct-AWQ", "7B-Instruct-AWQ")
agents = [
    {
        "name": f"agent-{number}",
        "models": [{"model": f"Qwen/Qwen2.5-{size}"} for size in sizes[number % 3:]],
        "port": 9000 + number,
        "max_model_len": 8192 + 16 * number,
        "max_model_len_min": 4096,
        "gpu_memory_utilization": 0.80 + 0.0015 * number,
        "max_num_seqs": 8 + number,
        "temperature": 0.1,
        "top_p": 0.9,
    }
    for number in range(100)
]
cards = tuple(HostCard(number, "a card", (15.5, 23.5)[number % 2], (12, 0), 448.0) for number in range(8))
settings = planner.Settings("cuda", "/engine", "/models", 900)
begun = time.perf_counter()
made = planner.build(agents, settings, decision.Host(cards))
print(1000 * (time.perf_counter() - begun), len(made["problems"]))
"""


def main() -> int:
    """Run, print and return the exit status."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    scripts = Path(__file__).resolve().parents[1] / "scripts"
    runs = []
    for _ in range(RUNS):
        done = subprocess.run([sys.executable, "-c", ONE_RUN, scripts], capture_output=True, text=True, check=True)
        milliseconds, problems = done.stdout.split()
        runs.append(float(milliseconds))
    median = statistics.median(runs)
    print(
        f"100 agents on 8 GPUs, {RUNS} runs: min {min(runs):.1f} ms, median {median:.1f} ms, max {max(runs):.1f} ms "
        f"(limit {LIMIT_MS:g} ms; {problems} agents fit nowhere)"
    )
    return 0 if median <= LIMIT_MS else 1


if __name__ == "__main__":
    raise SystemExit(main())
