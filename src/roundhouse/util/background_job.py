"""Watch a background job on a host: its process, its progress, and whether it ended without a result.

Ansible's status file outlives the job: after a reboot or an out-of-memory kill it still shows the job as not
finished. Therefore the first line of the progress file names the process and the boot. Each check compares both.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from typing import Any

from .process import BOOT_ID

# A container keeps the machine's boot_id when it restarts, but gets a new PID 1. Field 22 of proc_pid_stat(5) is the
# start time of PID 1. It is field 20 here, because the fields up to the name are cut off.
_BOOT = f"""echo "boot $(cat {BOOT_ID}) $(sed 's/.*) //' /proc/1/stat | cut -d ' ' -f 20)\""""
# Time allowed from the start of the job to its first event: many times the start of Python on a slow disk.
BEGIN_SECONDS = 180.0
# Consecutive checks that must miss the process: Ansible writes the result shortly after the process ends.
MISSED = 3


def began() -> str:
    """Return the first line of a job's progress file, as JSON."""
    return json.dumps({"event": "began", "pid": os.getpid(), "boot": BOOT_ID.read_text().strip()})


class Watch:
    """Track the state of one job by its progress file."""

    def __init__(self, path: str, begin_seconds: float = BEGIN_SECONDS) -> None:
        self.path, self.begin_seconds = path, begin_seconds
        self.boot: str | None = None
        self.pid: int | None = None
        self.missed = 0
        self.answered = False  # true if the host answered the last check
        self.since = time.monotonic()

    def command(self) -> str:
        """Return the shell command of a check. It prints a name (boot, process, first, last) and a value per line."""
        process = f"test -d /proc/{self.pid or 'self'} && echo process running || echo process ended"
        path = shlex.quote(self.path)
        first, last = (
            f"{end} -n 1 {path} 2>/dev/null | sed 's/^/{name} /'" for end, name in (("head", "first"), ("tail", "last"))
        )
        return f"{_BOOT}; {process}; {first}; {last}; true"

    def update(self, output: str) -> dict[str, Any] | None:
        """Read the command's output; return the job's last event (progress.Event), None if there is none yet."""
        found = dict(line.partition(" ")[::2] for line in output.splitlines())
        self.answered = {"boot", "process"} <= found.keys()
        if not self.answered:
            return None
        if self.boot is None:
            self.boot = found["boot"]
        self.missed = self.missed + 1 if found["process"] == "ended" else 0
        if found["boot"] != self.boot:
            self.missed = MISSED
        # A line without a closing brace is still being written.
        events = {name: json.loads(found[name]) for name in ("first", "last") if found.get(name, "").endswith("}")}
        if events.get("first", {}).get("event") == "began":
            self.pid = events["first"]["pid"]
        last: dict[str, Any] | None = events.get("last")
        return last if last and "text" in last else None

    def lost(self) -> str | None:
        """Return why the job counts as lost, None while it may be running."""
        if self.missed >= MISSED:
            return "it ended without a result, for example because the host restarted or ran out of memory"
        if self.pid is None and time.monotonic() - self.since > self.begin_seconds:
            return f"it did not start within {self.begin_seconds:.0f} s"
        return None
