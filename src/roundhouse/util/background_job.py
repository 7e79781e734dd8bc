"""A job in the background of a host: who runs it, how far it is, and whether it is gone without a result.

Ansible's own file of a job outlives the job: after a restart of the host, or when the kernel killed it for
memory, the file still says that the job has not finished. So the job's progress begins with its process, and each look
compares that and the host's boot.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# A host that is a container keeps the machine's boot_id over its own restart; its PID 1 is then another: field 22 of
# proc_pid_stat(5) is when that started, here counted behind the name.
STARTED = f"""echo "$(cat {BOOT_ID}) $(sed 's/.*) //' /proc/1/stat | cut -d ' ' -f 20)\""""
# From the start of the job to its first word: Python's own start on a slow disk, many times over.
BEGIN_SECONDS = 180.0
# So often its process must be missed: Ansible writes the result a moment after it ended.
MISSED = 3


def began() -> str:
    """Return the first line of a job's progress."""
    return json.dumps({"event": "began", "pid": os.getpid(), "boot": BOOT_ID.read_text().strip()})


class Watch:
    """What is known of one job, by the file of its progress."""

    def __init__(self, path: str, begin_seconds: float = BEGIN_SECONDS) -> None:
        self.path, self.begin_seconds = path, begin_seconds
        self.boot: str | None = None
        self.pid: int | None = None
        self.missed = 0
        self.answered = False  # whether the host did, the last time
        self.since = time.monotonic()

    def command(self) -> str:
        """Return the shell's line for a look at the host."""
        lives = f"test -d /proc/{self.pid or 'self'}"
        ends = " ".join(f"{end} -n 1 {shlex.quote(self.path)} 2>/dev/null;" for end in ("head", "tail"))
        return f"{STARTED}; {lives} && echo lives || echo ended; {ends} true"

    def look(self, output: str) -> str | None:
        """Take the line's output; return the last word of the job, None when it has said none yet."""
        lines = output.splitlines()
        self.answered = len(lines) > 1
        if not self.answered:
            return None
        boot, life, *ends = lines
        if self.boot is None:
            self.boot = boot
        self.missed = self.missed + 1 if life == "ended" else 0
        if boot != self.boot:
            self.missed = MISSED
        words = [json.loads(line) for line in ends if line.endswith("}")]
        if words and words[0]["event"] == "began":
            self.pid = words[0]["pid"]
        return words[-1].get("text") if words else None

    def gone(self) -> str | None:
        """Return how the job ended when it has, without leaving a result; None while it may go on."""
        if self.missed >= MISSED:
            return "it ended without a result, as when the host was restarted or its memory was full"
        if self.pid is None and time.monotonic() - self.since > self.begin_seconds:
            return f"it has not begun after {self.begin_seconds:.0f} s"
        return None
