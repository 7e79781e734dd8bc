#!/usr/bin/env python3
"""Run test suites concurrently, print each output line with its suite's name, and print a table at the end.

    suites.py [--jobs N] NAME...

NAME is a scenario (a folder of molecule/) or one of SUITES. The suites start in the given order. A suite that fails or
cannot be started does not stop the others. The exit status is 1 if any suite failed.
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
# One suite alone leaves a core idle. More suites than cores only make each suite slower.
JOBS = 2
# Suites that are not scenarios. The demo's host is removed after the demo has passed.
SUITES = {
    "contract": ["pytest", "tests/contract"],
    "demo": ["make", "demo", "lab-down"],
    "lint-ansible": ["make", "lint-ansible"],
}
_one_line = threading.Lock()


class Ended(NamedTuple):
    """A suite's exit status and its wall-clock time in seconds."""

    status: int
    seconds: float


def run(name: str, width: int) -> Ended:
    """Run one suite and print each line of its output with the suite's name."""
    begun = time.monotonic()
    command = SUITES.get(name) or ["molecule", "test", "--scenario-name", name]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",  # a host's log may contain any byte
    ) as running:
        for line in running.stdout or ():
            with _one_line:
                print(f"{name:<{width}} {line.rstrip()}", flush=True)
    return Ended(running.returncode, time.monotonic() - begun)


def outcome(suite: Future[Ended]) -> tuple[bool, str]:
    """Return whether an ended suite passed, and its table cell: seconds and outcome, or the reason."""
    if error := suite.exception():
        return False, f"    ? s  failed: {type(error).__name__}: {error}"
    status, seconds = suite.result()
    return status == 0, f"{seconds:5.0f} s  {'failed' if status else 'passed'}"


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", metavar="NAME", help=f"a folder of molecule/, {' or '.join(SUITES)}")
    parser.add_argument("--jobs", type=int, default=JOBS, help="number of concurrent suites (default: %(default)s)")
    args = parser.parse_args(argv)
    known = {*SUITES, *(file.parent.name for file in ROOT.glob("molecule/*/molecule.yml"))}
    if unknown := [name for name in args.names if name not in known]:
        parser.error(f"suite not found: {', '.join(unknown)}. Choose from {', '.join(sorted(known))}.")
    width = max(map(len, args.names))
    with ThreadPoolExecutor(args.jobs) as pool:
        ended = [pool.submit(run, name, width) for name in args.names]
    outcomes = [outcome(each) for each in ended]
    print("\nSuites:")
    for name, (_, told) in zip(args.names, outcomes, strict=True):
        print(f"  {name:<{width}} {told}")
    return 0 if all(passed for passed, _ in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
