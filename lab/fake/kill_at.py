#!/usr/bin/python3
"""Run a switch, send it a signal when it is in a phase, and print how it ended: `lab-kill PHASE SIGNAL WORD...`."""

import json
import subprocess
import sys
import time
from pathlib import Path

JOURNAL = Path("/var/lib/roundhouse/state/switch.json")
PHASE_SECONDS = 25


def reached(phase: str, pid: int) -> bool:
    """Return whether the switch of that process is in the phase."""
    try:
        entry = json.loads(JOURNAL.read_text())
    except (FileNotFoundError, ValueError):
        return False
    return entry["phase"] == phase and entry["pid"] == pid


def main(phase: str, number: str, *words: str) -> int:
    """Print the outcome as JSON; 1 when the phase never came."""
    command = ["roundhouse", "--json", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + PHASE_SECONDS
    while not reached(phase, process.pid):
        if process.poll() is not None or time.monotonic() > end:
            print(f"{phase} was not seen: {process.communicate()}", file=sys.stderr)
            return 1
        time.sleep(0.02)
    time.sleep(0.1)  # into the phase
    process.send_signal(int(number))
    out, err = process.communicate(timeout=60)
    print(json.dumps({"rc": process.returncode, "stdout": out, "stderr": err}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
