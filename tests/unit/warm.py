"""Run the command in separate processes, which are forks of a Python that has already imported it.

A fork takes milliseconds, but a new interpreter with the hub's client takes half a second. Run as a program, this
module is that Python. It forks once per command from the socket whose descriptor is its argument.
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
from roundhouse.cli.commands import export, models, prune, pull, verify  # noqa: F401 - imported before the fork
from roundhouse.models.hub import Hub

WAIT_SECONDS = 60


class Command:
    """A running command with those methods of Popen that tests use."""

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
        """Return the exit status, None while the command runs."""
        if self.returncode is None and select.select([self._told], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout=WAIT_SECONDS):
        """Wait for the end, and return the exit status: -9 after SIGKILL."""
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("the command", timeout)
            self.returncode = int(self._told.readline())
            self._told.close()
        return self.returncode

    def send_signal(self, number):
        """Send a signal, unless the command has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        """Kill the command with SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def said(self):
        """Return the standard error so far."""
        return os.pread(self.errors.fileno(), 1 << 20, 0).decode()

    def communicate(self, timeout=WAIT_SECONDS):
        """Wait for the end, and return standard output and standard error."""
        self.wait(timeout)
        texts = []
        for file in (self.output, self.errors):
            file.seek(0)
            texts.append(file.read())
            file.close()
        return tuple(texts)


class Warm:
    """The Python that has imported the command, started with these variables; `with` stops it."""

    def __init__(self, **variables):
        self._variables = variables

    def __enter__(self):
        """Start the process."""
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            words = [sys.executable, __file__, str(theirs.fileno())]
            own = os.environ | self._variables
            self._process = subprocess.Popen(words, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=own)
        return self

    def __exit__(self, *_):
        """Close the socket, which ends the process."""
        self._line.close()
        self._process.wait(WAIT_SECONDS)

    def start(self, *words, **variables):
        """Start `roundhouse WORDS` with additional environment variables."""
        return Command(self._line, words, os.environ | self._variables | variables)

    def run(self, *words, **variables):
        """Run `roundhouse WORDS` and return its outcome, as subprocess.run does."""
        running = self.start(*words, **variables)
        stdout, stderr = running.communicate()
        return SimpleNamespace(returncode=running.returncode, stdout=stdout, stderr=stderr)


def serve(line):
    """Fork for each command, until the other side closes the socket."""
    Hub("http://127.0.0.1")  # imports the client
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the children
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
    """Run a command in a child process, and send its pid and its exit status."""
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
    """Run the command as scripts/switch.py does, and exit with its exit status."""
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
