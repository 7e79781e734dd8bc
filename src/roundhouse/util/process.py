"""Run a program and capture its output."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# The kernel changes this value at each boot.
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def run(command: Sequence[str | Path], *, check: bool = False, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program and return its exit status and output; `options` are those of subprocess.run."""
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=check, **options)


def output(*command: str) -> str | None:
    """Return a program's standard output, None if it is not installed, failed, or ran longer than 60 s."""
    try:
        done = run(command, timeout=60.0)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
