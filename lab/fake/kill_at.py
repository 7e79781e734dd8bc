#!/usr/bin/python3
"""Run a switch, send it a signal in a given phase, and print the outcome: `lab-kill PHASE SIGNAL WORD...`.

The phase lasts as long as its gate exists, the file /run/lab-gate.NUMBER, so that the test works on a machine of any
speed. The test case creates the file, and a fault waits for its removal. After a signal that lets the switch roll back,
this program removes the file.
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
# Notes in the journal that show that the phase has begun.
NOTES = {"stop": ": 1 running", "start": "loading weights", "rollback": "loading weights"}
# The system call that blocks while a process opens a pipe without a writer (x86-64, ARM).
OPENAT = {"257", "56"}


def reached(phase: str, pid: int) -> bool:
    """Return whether the switch with this pid is in the phase."""
    if phase == "check":  # there is no journal yet; the switch reads the card's memory, and the card is such a pipe
        return waits_to_open(pid)
    try:
        entry = json.loads(JOURNAL.read_text())
    except (FileNotFoundError, ValueError):
        return False
    return entry["phase"] == phase and entry["pid"] == pid and NOTES.get(phase, "") in entry["note"]


def waits_to_open(pid: int) -> bool:
    """Return whether a process blocks while it opens a file, checked twice."""
    for _ in range(2):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            call = Path(f"/proc/{pid}/syscall").read_text().split()[0]
        except OSError:  # the process has ended
            return False
        if state != "S" or call not in OPENAT:
            return False
        time.sleep(0.02)
    return True


def main(phase: str, number: str, *words: str) -> int:
    """Print the outcome as JSON and return 0, or 1 if the phase was not reached."""
    command = ["roundhouse", "--json", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    begun = time.monotonic()
    while not reached(phase, process.pid):
        if process.poll() is not None or time.monotonic() - begun > PHASE_SECONDS:
            process.kill()
            print(f"The switch did not reach the phase {phase}: {process.communicate()}", file=sys.stderr)
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
