#!/usr/bin/python3
"""Run a switch, send it a signal when it is in a phase, and print how it ended: `lab-kill PHASE SIGNAL WORD...`.

The phase lasts as long as its gate is there, /run/lab-gate.NUMBER, so that it is met on a machine of any speed: the
case makes the file and has something wait for it. A signal that lets the switch go back takes the file away.
"""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

JOURNAL = Path("/var/lib/roundhouse/state/switch.json")
GATES = Path("/run")
PHASE_SECONDS = 90
# What the journal says once the phase is under way.
NOTES = {"stop": ": 1 running", "start": "loading weights", "rollback": "loading weights"}
# The system call in which a process waits that opens a pipe which nobody writes to (x86-64, ARM).
OPENAT = {"257", "56"}


def reached(phase: str, pid: int) -> bool:
    """Return whether the switch of that process is in the phase."""
    if phase == "check":  # it has no journal yet; it asks for the card's memory, and the card is such a pipe
        return waits_to_open(pid)
    try:
        entry = json.loads(JOURNAL.read_text())
    except (FileNotFoundError, ValueError):
        return False
    return entry["phase"] == phase and entry["pid"] == pid and NOTES.get(phase, "") in entry["note"]


def waits_to_open(pid: int) -> bool:
    """Return whether a process sleeps in the opening of a file, looked at twice."""
    for _ in range(2):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            call = Path(f"/proc/{pid}/syscall").read_text().split()[0]
        except OSError:  # it has ended
            return False
        if state != "S" or call not in OPENAT:
            return False
        time.sleep(0.02)
    return True


def main(phase: str, number: str, *words: str) -> int:
    """Print the outcome as JSON; 1 when the phase never came."""
    command = ["roundhouse", "--json", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    begun = time.monotonic()
    while not reached(phase, process.pid):
        if process.poll() is not None or time.monotonic() - begun > PHASE_SECONDS:
            process.kill()
            print(f"{phase} was not seen: {process.communicate()}", file=sys.stderr)
            return 1
        time.sleep(0.02)
    time.sleep(0.1)  # into the phase
    process.send_signal(int(number))
    if int(number) != signal.SIGKILL:
        for gate in GATES.glob("lab-gate.*"):
            gate.unlink()
    out, err = process.communicate(timeout=60)
    print(json.dumps({"rc": process.returncode, "stdout": out, "stderr": err}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
