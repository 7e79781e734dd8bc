"""Run a program and capture what it prints."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Differs after each boot of the machine.
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def run(command: Sequence[str | Path], *, check: bool = False, **options: Any) -> subprocess.CompletedProcess[str]:
    """Return how a program ended; `options` are those of subprocess.run."""
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=check, **options)


def output(*command: str) -> str | None:
    """Return what a program printed, None where it is missing, failed, or took a minute."""
    try:
        done = run(command, timeout=60.0)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
