"""What a host lacks, found all at once and before anything is changed."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

from . import ports

# Disk that the engine's environment takes: the CPU's was measured (2.5 GB with bytecode), the CUDA
# one is larger by the CUDA libraries that its wheels bring (an upper bound, not measured here).
ENGINE_DISK_GIB = {"cpu": 4, "cuda": 16}
ENGINE_PYTHON = ((3, 11), (3, 14))  # Requires-Python of vllm 0.32.0: >=3.11,<3.15
GIB = 1024**3


def findings(
    host: dict[str, Any], *, agents: list[dict[str, Any]], accelerator: str, engine_path: str, engine_python: str
) -> list[str]:
    """Return one sentence for each thing that has to be mended first; `agents` are the plan's."""
    found = []
    if platform.machine() != "x86_64":
        found.append(f"This host is {platform.machine()}: the engine's locked packages are for x86_64.")
    if not Path("/run/systemd/system").is_dir():
        found.append("systemd does not run here: Roundhouse needs it as the host's init.")
    if not shutil.which("apt-get"):
        found.append("This host has no apt: only Debian and Ubuntu are supported so far.")
    if accelerator == "cuda" and not host["gpus"]:
        found.append(
            "No NVIDIA GPU is on the PCI bus and engine_accelerator is cuda: check that the card is seated, "
            "or set engine_accelerator: cpu in the inventory."
        )
    for agent in agents:
        found += _of_agent(agent, host, accelerator)
    if not Path(engine_path).exists():
        found += _disk(Path(engine_path), ENGINE_DISK_GIB[accelerator])
        found += _python(engine_python)
    return found


def _of_agent(agent: dict[str, Any], host: dict[str, Any], accelerator: str) -> list[str]:
    found = []
    holder = ports.holder(agent["port"])
    # An agent's own unit, or another agent's that has the port until this run moves it, is no stranger.
    if holder and not (holder.unit or "").startswith("roundhouse-"):
        at = f"agents[{agent['name']}].port"
        found.append(f"{at} is {agent['port']}, which {holder} holds: stop that, or write another port.")
    beyond = [index for index in agent["gpus"] if index >= len(host["gpus"])]
    if accelerator == "cuda" and host["gpus"] and beyond:
        at = f"agents[{agent['name']}].gpus"
        last = len(host["gpus"]) - 1
        found.append(f"{at} is {agent['gpus']}, and this host's GPUs are numbered 0 to {last}: write those.")
    return found


def _disk(path: Path, needed_gib: int) -> list[str]:
    while not path.exists():
        path = path.parent
    status = os.statvfs(path)
    free_gib = status.f_bavail * status.f_frsize / GIB
    if free_gib >= needed_gib:
        return []
    return [f"{path} has {free_gib:.1f} GiB free and the engine takes up to {needed_gib} GiB: make room there."]


def _python(name: str) -> list[str]:
    low, high = (".".join(map(str, version)) for version in ENGINE_PYTHON)
    wanted = f"name a Python from {low} to {high} that the host has"
    if not shutil.which(name):
        return [f"engine_python is {name!r}, which is not on the host's PATH: {wanted}."]
    code = "import sys; print(*sys.version_info[:2])"
    said = subprocess.run([name, "-c", code], capture_output=True, text=True, check=True).stdout
    major, minor = map(int, said.split())
    if ENGINE_PYTHON[0] <= (major, minor) <= ENGINE_PYTHON[1]:
        return []
    return [f"engine_python is {name!r}, which is Python {major}.{minor} on this host: {wanted}."]
