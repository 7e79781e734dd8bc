"""The command in processes of its own, started from a Python that has it loaded.

A fork takes some milliseconds, and a new interpreter with the hub's client half a second. As a program it is that
Python: it forks once for each command that comes over the socket whose descriptor is its argument.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from types import SimpleNamespace

from roundhouse.cli import main
from roundhouse.cli.commands import export, models, prune, pull, verify  # noqa: F401 - so that they are loaded too
from roundhouse.models.hub import Hub

WAIT_SECONDS = 60


class Command:
    """A command that runs, with the part of Popen's methods that tests use."""

    def __init__(self, server, words, environment):
        self.output, self.errors = (tempfile.TemporaryFile("w+") for _ in range(2))  # noqa: SIM115 - it outlives this
        reading, told = os.pipe()
        self._told = os.fdopen(reading)
        given = json.dumps(
            {"words": [*map(str, words)], "environment": {name: str(value) for name, value in environment.items()}}
        ).encode()
        socket.send_fds(server, [given], [self.output.fileno(), self.errors.fileno(), told])
        os.close(told)
        self.pid, self.returncode = int(self._told.readline()), None

    def poll(self):
        """Return the exit status, None while it runs."""
        if self.returncode is None and select.select([self._told], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout=WAIT_SECONDS):
        """Wait for its end, and return its exit status: -9 after SIGKILL."""
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("the command", timeout)
            self.returncode = int(self._told.readline())
            self._told.close()
        return self.returncode

    def send_signal(self, number):
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        """End it by SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def said(self):
        """Return what it has written to stderr so far."""
        return os.pread(self.errors.fileno(), 1 << 20, 0).decode()

    def communicate(self, timeout=WAIT_SECONDS):
        """Wait for its end, and return what it wrote to stdout and to stderr."""
        self.wait(timeout)
        texts = []
        for file in (self.output, self.errors):
            file.seek(0)
            texts.append(file.read())
            file.close()
        return tuple(texts)


class Warm:
    """The Python that has the command loaded, started with these variables; `with` ends it."""

    def __init__(self, **variables):
        self._variables = variables

    def __enter__(self):
        """Start it."""
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            words = [sys.executable, __file__, str(theirs.fileno())]
            own = os.environ | self._variables
            self._process = subprocess.Popen(words, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=own)
        return self

    def __exit__(self, *_):
        """End it: it sees that nobody will ask."""
        self._line.close()
        self._process.wait(WAIT_SECONDS)

    def start(self, *words, **variables):
        """Start `roundhouse WORDS` with more variables."""
        return Command(self._line, words, os.environ | self._variables | variables)

    def run(self, *words, **variables):
        """Return what `roundhouse WORDS` answered, as subprocess.run does."""
        running = self.start(*words, **variables)
        stdout, stderr = running.communicate()
        return SimpleNamespace(returncode=running.returncode, stdout=stdout, stderr=stderr)


def serve(line):
    """Fork for each command, until the other side is gone."""
    Hub("http://127.0.0.1")  # loads the client
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # its children are nobody's to wait for
    while True:
        told, descriptors, *_ = socket.recv_fds(line, 1 << 20, 3)
        if not told:
            return
        if not os.fork():
            line.close()
            watch(json.loads(told), *descriptors)
        for each in descriptors:
            os.close(each)


def watch(asked, output, errors, told):
    """Run a command in a child, and tell its number and its exit status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if not child:
        os.close(told)
        os.dup2(output, 1)
        os.dup2(errors, 2)
        os.environ.clear()
        os.environ.update(asked["environment"])
        run(asked["words"])
    os.write(told, f"{child}\n".encode())
    _, status = os.waitpid(child, 0)
    os.write(told, f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def run(words):
    """Run the command as scripts/switch.py does, and end with its exit status."""
    status = 1
    try:
        status = main.main(words)
    except SystemExit as error:
        status = error.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as own:
        serve(own)
