#!/usr/bin/env python3
"""Measure the plan of 100 agents on 8 GPUs, on one core and without caches: `benchmarks/plan.py`.

There are four hosts. On the first most agents fit, the second has eight different cards, and the third needs several
cards per model. On the fourth nothing fits, so that the planner tries everything. Each run is a separate process,
because the fit caches its results. The program prints processor milliseconds of plan.build.build, without imports and
the interpreter, and exits 1 if a median is above the limit.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

RUNS = 15
LIMIT_MS = 50.0
HOSTS = {
    "two kinds of cards": [15.5, 23.5] * 4,
    "eight kinds of cards": [15.5 + 0.1 * number for number in range(8)],
    "cards too small for one model": [6.0] * 8,
    "cards that hold nothing": [1.5] * 8,
}
ONE_RUN = """
import sys, time
from roundhouse.plan import build, decide
from roundhouse.catalog.gpus import HostCard

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
cards = tuple(
    HostCard(number=at, name="a card", cuda_gib=float(gib), capability=(12, 0), bandwidth_gb_s=448.0)
    for at, gib in enumerate(sys.argv[1:])
)
settings = build.Settings(
    accelerator="cuda", engine_path="/engine", models_store="/models", start_timeout_seconds=900
)
begun = time.process_time()
made = build.build(agents, settings, decide.Host(cards))
print(1000 * (time.process_time() - begun), len(made["problems"]))
"""


def main() -> int:
    """Run the benchmark and return its exit status."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    medians = [measure(name, [str(gib) for gib in cards]) for name, cards in HOSTS.items()]
    return 0 if max(medians) <= LIMIT_MS else 1


def measure(name: str, cards: list[str]) -> float:
    """Print one host's line and return its median in milliseconds."""
    runs, problems = [], ""
    for _ in range(RUNS):
        command = [sys.executable, "-c", ONE_RUN, *cards]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        milliseconds, problems = done.stdout.split()
        runs.append(float(milliseconds))
    median = statistics.median(runs)
    print(
        f"100 agents on 8 GPUs, {name}: min {min(runs):.1f} ms, median {median:.1f} ms, max {max(runs):.1f} ms "
        f"of {RUNS} runs (limit {LIMIT_MS:g} ms); {problems} agents fit nowhere"
    )
    return median


if __name__ == "__main__":
    raise SystemExit(main())
