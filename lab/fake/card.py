#!/usr/bin/python3
"""The stand-in card's memory: what fake engines and strangers hold of it, written where the stand-in NVML reads it.

A file PID in the folder holds `MIB HOLD`: so much is in use while the process lives, and HOLD seconds longer, or as
long as the file HOLD is there, as with a driver that is slow to give it back. A file container-ID is such a file of an
engine that knows no pid of the host's: it gets the name of the first process of that container.

    card.py FOLDER CONFIG GPU_LINE      GPU_LINE with {used}, as in lab/gpu/nvml.c; lines of CONFIG.more come with it
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

RESERVED_MIB = 400  # a card with a driver is never empty
POLL_SECONDS = 0.05


def name_of(pid: str) -> str:
    """Return what NVML calls a process: its program."""
    return Path(f"/proc/{pid}/comm").read_text().strip()


def name_containers(folder: Path) -> None:
    """Give what containers hold the names of their processes on the host; what has ended by then held nothing."""
    for file in folder.glob("container-*"):
        number = file.name.removeprefix("container-")
        told = next(Path("/sys/fs/cgroup").rglob(f"*{number}*/cgroup.procs"), None)
        pids = told.read_text().split() if told else []
        if pids:
            file.rename(folder / pids[-1])
        else:
            file.unlink()


def main(folder: Path, config: Path, line: str) -> None:
    """Write the file again whenever something is another."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o777)  # the engines' user writes here
    ended: dict[str, float] = {}
    before = ""
    while True:
        name_containers(folder)
        used, processes, gone = RESERVED_MIB, [], []
        for file in sorted(each for each in folder.iterdir() if each.name.isdigit()):
            mib, hold = file.read_text().split()
            try:
                processes.append(f"process 0 {file.name} {mib} {name_of(file.name)}")
            except OSError:  # it has ended
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
            aside.write_text(text)  # once more, where containers see it
            aside.rename(folder / "nvml.conf")
            before = text
        for file in gone:  # after the card says so: vllm's own look at the card counts on the order
            file.unlink()
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
