#!/usr/bin/env python3
"""What a person sees, made by the program's own code from fixed facts: `docs/screens.py switch|watch|doctor`.

switch: a start as it is reported, from a log of the lab's engine, with the times of an earlier start known.
watch: a round without a terminal, and the screen of a terminal of 80 columns. doctor: each real log's cause.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
from roundhouse import card, diagnosis, phases
from roundhouse import watch as live

ROWS = [
    ("architect", "stopped", 8000, None, None, None, "Qwen2.5-14B-Instruct-AWQ"),
    ("dev", "ready", 8001, 16384, (3, 0, 0.42), "Wed 2026-11-25 09:12:44 UTC", "Qwen2.5-Coder-14B-Instruct-AWQ"),
    ("po", "stopped", 8002, None, None, None, "Qwen2.5-7B-Instruct-AWQ"),
]
# A log of vLLM 0.32 on a card of 16 GB, with the second at which each line came.
LOG = (
    (1.2, "non-default args: {'model': '/var/lib/roundhouse/models/dev'}"),
    (6.0, "Initializing a V1 LLM engine (v0.32.0) with config: ..."),
    (9.5, "Starting to load model /var/lib/roundhouse/models/dev..."),
    (11.0, "Loading safetensors checkpoint shards:  33% Completed | 1/3"),
    (13.1, "Loading safetensors checkpoint shards:  67% Completed | 2/3"),
    (15.2, "Loading safetensors checkpoint shards: 100% Completed | 3/3"),
    (16.4, "Using cache directory: ... for vLLM's torch.compile"),
    (29.0, "torch.compile took 12.40 s in total"),
    (33.5, "Available KV cache memory: 3.71 GiB"),
    (34.0, "Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):  50%"),
    (38.7, "Graph capturing finished in 4 secs, took 0.41 GiB"),
)
KNOWN = phases.Start("dev", "", 40.0, {"loading weights": 9.0, "compiling": 16.0, "warm-up": 33.0, "graphs": 34.0})
HOLDER = card.Holder(4242, "VLLM::EngineCore", "roundhouse-dev.service", 14.7)
WIDTH = 80


def switch() -> str:
    """Return the lines of a start."""
    progress = phases.Progress(KNOWN)
    lines = [f"[{at:5.1f} s] dev: {progress.text(at)}" for at, line in LOG if progress.feed(line, at)]
    return "\n".join(lines)


def watch() -> str:
    """Return the screen, cut as for a terminal of WIDTH columns."""
    rows = [
        {
            **dict.fromkeys(("running", "waiting", "kv_use", "problem"), None),
            **dict(zip(("agent", "state", "port", "max_model_len"), row[:4], strict=True)),
            **(dict(zip(("running", "waiting", "kv_use"), row[4], strict=True)) if row[4] else {}),
            "model": f"Qwen/{row[6]}",
            "since": row[5],
            "drift": [],
        }
        for row in ROWS
    ]
    gpu = {"gpu": 0, "name": "NVIDIA GeForce RTX 5060 Ti", "used_gib": 14.8, "total_gib": 15.93, "use_percent": 97}
    gpu |= {"temperature_celsius": 61, "power_watts": 151, "power_limit_watts": 180, "holders": [HOLDER._asdict()]}
    return live.fitted(live.layout(rows, [gpu], None), WIDTH)


def doctor() -> str:
    """Return a table in Markdown: what the real engine wrote when it was made to fail, and what doctor says to it."""
    lines = ["| cause | the line that shows it | cure |", "|---|---|---|"]
    for log in sorted((ROOT / "tests/fixtures/logs").glob("*.log")):
        found = diagnosis.diagnose("dev", log.read_text().splitlines(), exit_status=1)
        evidence = found.evidence[:110].replace("|", "\\|")
        lines.append(f"| {found.cause} | `{evidence}` | {found.cure} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print({"switch": switch, "watch": watch, "doctor": doctor}[sys.argv[1]]())
