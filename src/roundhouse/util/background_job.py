"""A job in the background of a host: who runs it, how far it is, and whether it ended without a result.

Ansible's own file of a job outlives the job: after a reboot, or when the kernel killed it for memory, the file still
says that the job has not finished. So the job's progress begins with its process, and each check compares that and the
host's boot.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from typing import Any

from .process import BOOT_ID

# A container keeps the machine's boot_id when it restarts, but its PID 1 is then another: field 22 of proc_pid_stat(5)
# is that one's start time, here counted behind the name.
_BOOT = f"""echo "boot $(cat {BOOT_ID}) $(sed 's/.*) //' /proc/1/stat | cut -d ' ' -f 20)\""""
# From the start of the job to its first event: Python's own start on a slow disk, many times over.
BEGIN_SECONDS = 180.0
# How many checks must miss its process: Ansible writes the result a moment after it ended.
MISSED = 3


def began() -> str:
    """Return the first line of a job's progress."""
    return json.dumps({"event": "began", "pid": os.getpid(), "boot": BOOT_ID.read_text().strip()})


class Watch:
    """The state of one job, by the file of its progress."""

    def __init__(self, path: str, begin_seconds: float = BEGIN_SECONDS) -> None:
        self.path, self.begin_seconds = path, begin_seconds
        self.boot: str | None = None
        self.pid: int | None = None
        self.missed = 0
        self.answered = False  # whether the host did, the last time
        self.since = time.monotonic()

    def command(self) -> str:
        """Return the shell command of a check. It prints lines of a name and a value: boot, process, first, last."""
        process = f"test -d /proc/{self.pid or 'self'} && echo process running || echo process ended"
        path = shlex.quote(self.path)
        first, last = (
            f"{end} -n 1 {path} 2>/dev/null | sed 's/^/{name} /'" for end, name in (("head", "first"), ("tail", "last"))
        )
        return f"{_BOOT}; {process}; {first}; {last}; true"

    def update(self, output: str) -> dict[str, Any] | None:
        """Take the command's output; return the job's last event (progress.Event), None when it has none yet."""
        found = dict(line.partition(" ")[::2] for line in output.splitlines())
        self.answered = {"boot", "process"} <= found.keys()
        if not self.answered:
            return None
        if self.boot is None:
            self.boot = found["boot"]
        self.missed = self.missed + 1 if found["process"] == "ended" else 0
        if found["boot"] != self.boot:
            self.missed = MISSED
        # A line that is being written is not complete.
        events = {name: json.loads(found[name]) for name in ("first", "last") if found.get(name, "").endswith("}")}
        if events.get("first", {}).get("event") == "began":
            self.pid = events["first"]["pid"]
        last: dict[str, Any] | None = events.get("last")
        return last if last and "text" in last else None

    def gone(self) -> str | None:
        """Return how the job ended without a result, None while it may be running."""
        if self.missed >= MISSED:
            return "it ended without a result, as when the host was restarted or its memory was full"
        if self.pid is None and time.monotonic() - self.since > self.begin_seconds:
            return f"it has not begun after {self.begin_seconds:.0f} s"
        return None
