#!/usr/bin/env python3
"""Measure a verified pull of 4 GiB in 8 files from a hub on loopback: `make bench-pull`.

Three methods pull the same model in turns, each in its own process.
bare: the hub's client alone (snapshot_download), which compares only lengths.
pass: the same, and then the SHA-256 of every file.
pull: scripts/switch.py pull, which hashes while it downloads and flushes every byte to the disk.

The ratios compare the best times. The limits of pull are 1.15 times bare's time, 0.9 times pass's time, and 300 MiB of
memory. The program exits 1 if one is exceeded.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parents[1]
MIB = 1 << 20
AGAINST_BARE, AGAINST_PASS, MEMORY_MIB = 1.15, 0.9, 300
BARE = "import huggingface_hub as h, sys; h.snapshot_download('lab/model', local_dir=sys.argv[1])"
# A reader of 1 MiB at a time, like sha256sum, without the start of a process per file.
PASS = f"""{BARE}
import hashlib, pathlib
for path in sorted(pathlib.Path(sys.argv[1]).glob('*.safetensors')):
    digest = hashlib.sha256()
    with path.open('rb', buffering=0) as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
"""


def make(folder: Path, files: int, mib: int) -> None:
    """Write a model of `count` files with the given size, each with different content."""
    folder.mkdir(parents=True)
    block = os.urandom(MIB)
    for number in range(1, files + 1):
        size = mib * MIB
        header = json.dumps({"t": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
        with (folder / f"model-{number:05}-of-{files:05}.safetensors").open("wb") as file:
            file.write(struct.pack("<Q", len(header)) + header)
            for index in range(mib):
                file.write(struct.pack("<II", number, index) + block[8:])
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text("{}")


def start_hub(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """Run the lab's hub and wait until it has computed its checksums."""
    hub = subprocess.Popen([sys.executable, ROOT / "lab/hub.py", folder, str(port)], stderr=subprocess.DEVNULL)
    for _ in range(300):
        try:
            with urlopen(f"http://127.0.0.1:{port}/api/models/lab/model/revision/main"):
                return hub
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"bench: no hub on port {port}: name a free one with --port.")


def timed(way: str, target: Path, port: int) -> tuple[float, float]:
    """Pull the model once; return seconds and the process's peak memory in MiB."""
    command: list[str | Path] = [sys.executable, "-c", PASS if way == "pass" else BARE, target]
    if way == "pull":
        command = [sys.executable, ROOT / "scripts/switch.py", "pull", "lab/model", "--store", target, "--json"]
    quiet = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1"}
    environment = os.environ | quiet | {"HF_ENDPOINT": f"http://127.0.0.1:{port}"}
    os.sync()  # so that writes of the previous run do not count
    begun = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begun
    shutil.rmtree(target)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"bench: {way} failed: run it by hand to see why.")
    return seconds, memory_mib(usage)


def memory_mib(usage: resource.struct_rusage) -> float:
    """Return a process's peak resident memory."""
    return usage.ru_maxrss / 1024


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where to work (default: the folder for temporary files)")
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--mib", type=int, default=512, help="of each file (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of all three ways (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8907)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="roundhouse-bench-") as work:
        make(Path(work) / "hub/model", args.files, args.mib)
        hub = start_hub(Path(work) / "hub", args.port)
        try:
            rounds = [
                {way: timed(way, Path(work) / "target", args.port) for way in ("bare", "pull", "pass")}
                for _ in range(args.rounds)
            ]
        finally:
            hub.kill()
            hub.wait()
    best = {way: min(one[way][0] for one in rounds) for way in rounds[0]}
    memory = max(one["pull"][1] for one in rounds)
    print(f"{args.files} files of {args.mib} MiB, {args.rounds} rounds")
    for way in ("bare", "pass", "pull"):
        print(f"  {way:<5} {best[way]:6.2f} s   ({', '.join(f'{one[way][0]:.2f}' for one in rounds)})")
    against_bare, against_pass = best["pull"] / best["bare"], best["pull"] / best["pass"]
    print(f"  pull / bare  {against_bare:.2f}  (at most {AGAINST_BARE})")
    print(f"  pull / pass  {against_pass:.2f}  (at most {AGAINST_PASS})")
    print(f"  memory       {memory:.0f} MiB  (at most {MEMORY_MIB})")
    return 0 if against_bare <= AGAINST_BARE and against_pass <= AGAINST_PASS and memory <= MEMORY_MIB else 1


if __name__ == "__main__":
    raise SystemExit(main())
