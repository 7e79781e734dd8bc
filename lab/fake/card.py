#!/usr/bin/python3
"""Write the memory use of the stand-in card for the stand-in NVML: what fake engines and other processes hold.

    card.py FOLDER CONFIG GPU_LINE      GPU_LINE has {used}, see lab/gpu/nvml.c; lines of CONFIG.more are appended

A file PID in the folder contains `MIB HOLD`. The process uses MIB of memory while it lives and HOLD seconds longer, as
if the driver freed memory late. If HOLD is a path, the memory is in use as long as that file exists. An engine in a
container does not know its pid on the host and writes a file container-ID into its own cache. This program moves that
file into the folder, under the pid of the container's first process.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

CACHES = Path("/var/cache/roundhouse")  # each container has its own folder there
RESERVED_MIB = 400  # the driver itself always uses memory
POLL_SECONDS = 0.05


def name_of(pid: str) -> str:
    """Return NVML's name of a process, which is its program."""
    return Path(f"/proc/{pid}/comm").read_text().strip()


def name_containers(folder: Path) -> None:
    """Move each file container-ID to the pid of its process on the host; remove it if the container has ended."""
    for file in CACHES.glob("*/card/container-*"):
        number = file.name.removeprefix("container-")
        told = next(Path("/sys/fs/cgroup").rglob(f"*{number}*/cgroup.procs"), None)
        pids = told.read_text().split() if told else []
        if pids:
            aside = folder / f".{pids[-1]}"  # the folder may be on another disk
            aside.write_text(file.read_text())
            aside.rename(folder / pids[-1])
        file.unlink()


def main(folder: Path, config: Path, line: str) -> None:
    """Write the file again after each change."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o777)  # each engine writes here
    ended: dict[str, float] = {}
    before = ""
    while True:
        name_containers(folder)
        used, processes, gone = RESERVED_MIB, [], []
        for file in sorted(each for each in folder.iterdir() if each.name.isdigit()):
            mib, hold = file.read_text().split()
            try:
                processes.append(f"process 0 {file.name} {mib} {name_of(file.name)}")
            except OSError:  # the process has ended
                since = time.monotonic() - ended.setdefault(file.name, time.monotonic())
                if not Path(hold).exists() if hold.startswith("/") else since >= float(hold):
                    gone.append(file)
                    continue
            used += int(mib)
        more = config.with_name(f"{config.name}.more")
        told = more.read_text() if more.exists() else ""
        text = "\n".join(["sys /srv/lab/sys", line.format(used=used), *processes, told])
        if text != before:
            aside = config.with_suffix(".new")
            aside.write_text(text)
            aside.rename(config)
            aside.write_text(text)  # a second copy in the folder that containers see
            aside.rename(folder / "nvml.conf")
            before = text
        for file in gone:  # after the card's file is written: just_ended() in lab/fake/vllm relies on this order
            file.unlink()
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
