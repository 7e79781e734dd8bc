"""Find the systemd service of a process by its control group."""

from __future__ import annotations

import re
from pathlib import Path

_PROC = Path("/proc")
# An agent's container is in a slice of the agent's own (compose.py) below Docker's.
_SLICE = re.compile(r"(roundhouse-[^/]+)\.slice/")


def unit_of(pid: int) -> str | None:
    """Return the systemd service of a process, None without one. Raises OSError if the process has ended."""
    for line in (_PROC / str(pid) / "cgroup").read_text().splitlines():
        if unit := unit_in(line):
            return unit
    return None


def unit_in(path: str) -> str | None:
    """Return the service of a control group's path: its own, or that of the agent's container."""
    last = path.rpartition("/")[2]
    if last.endswith(".service"):
        return last
    slices = _SLICE.findall(path)
    return f"{slices[-1]}.service" if slices else None
