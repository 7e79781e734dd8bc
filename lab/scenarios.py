#!/usr/bin/env python3
"""Run molecule scenarios side by side, print each line with its scenario's name, and end with a table.

    scenarios.py [--lanes N] NAME...

The scenarios start in the given order; a failed one does not stop the others, nor does one that could not be run. The
exit status is 1 if any failed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
# Most of a scenario's time is waiting for processes on its hosts; more lanes than cores only make each one slower.
LANES = 2
_one_line = threading.Lock()


class Ended(NamedTuple):
    """A scenario's exit status and its wall-clock time in seconds."""

    status: int
    seconds: float


def run(name: str, width: int) -> Ended:
    """Run `molecule test` of one scenario and print its output as it comes, each line behind the name."""
    begun = time.monotonic()
    command = ["molecule", "test", "--scenario-name", name]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",  # a host's log may hold any byte
    ) as running:
        for line in running.stdout or ():
            with _one_line:
                print(f"{name:<{width}} {line.rstrip()}", flush=True)
    return Ended(running.returncode, time.monotonic() - begun)


def outcome(scenario: Future[Ended]) -> tuple[bool, str]:
    """Return whether an ended scenario passed, and its cell of the table: seconds and outcome, or the reason."""
    if error := scenario.exception():
        return False, f"    ? s  failed: {type(error).__name__}: {error}"
    status, seconds = scenario.result()
    return status == 0, f"{seconds:5.0f} s  {'failed' if status else 'passed'}"


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", metavar="NAME", help="a folder of molecule/")
    parser.add_argument("--lanes", type=int, default=LANES, help="how many run at once (default: %(default)s)")
    args = parser.parse_args(argv)
    if unknown := [name for name in args.names if not (ROOT / "molecule" / name / "molecule.yml").is_file()]:
        parser.error(f"no scenario of that name: {', '.join(unknown)}. They are the folders of molecule/.")
    width = max(map(len, args.names))
    with ThreadPoolExecutor(args.lanes) as lanes:
        ended = [lanes.submit(run, name, width) for name in args.names]
    outcomes = [outcome(each) for each in ended]
    print("\nScenarios:")
    for name, (_, told) in zip(args.names, outcomes, strict=True):
        print(f"  {name:<{width}} {told}")
    return 0 if all(passed for passed, _ in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
