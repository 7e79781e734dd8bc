"""A program for test_killed: a pull that kills itself with SIGKILL before one of its operations on the disk.

    python killed_pull.py URL STORE     on stdin one number per line: the operation, from 1; 0 for none

For each line, the program prints the exit status of the pull and the number of operations until then. The pull is a
child process, so that the client is imported once. Python's audit events precede each rename, removal and opening of a
file.
"""

import os
import signal
import sys
from pathlib import Path

from roundhouse.models import pull
from roundhouse.models.hub import Hub
from roundhouse.models.pull_job import PullRequest
from roundhouse.util import progress

EVENTS = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "open")


def main() -> None:
    url, place = sys.argv[1], Path(sys.argv[2])
    once(url, place.with_name("warm"))  # imports the whole client
    for line in sys.stdin:
        counter, done = os.pipe()
        child = os.fork()
        if not child:
            one(url, place, int(line), done)
        os.close(done)
        _, status = os.waitpid(child, 0)
        with os.fdopen(counter, "rb") as counted:
            sys.stdout.write(f"{os.waitstatus_to_exitcode(status)} {len(counted.read())}\n")
            sys.stdout.flush()


def one(url: str, place: Path, last: int, done: int) -> None:
    """Pull until that operation."""
    seen = 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal seen
        if event in EVENTS and str(place) in str(arguments[0]) and (event != "open" or arguments[2] & os.O_ACCMODE):
            seen += 1
            os.write(done, b"x")
            if seen == last:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    once(url, place)
    os._exit(0)


def once(url: str, place: Path) -> None:
    """Pull."""
    with progress.Progress(lambda event: None, 60) as shown:
        pull.Pull(place, Hub(url), shown, workers=1).run([PullRequest("lab/small", "main")])


if __name__ == "__main__":
    main()
