"""Let the control service do a switch that a person starts, and report its progress.

Each message is one JSON object on a line. The service sends {"hello": its process id}; the command sends
{"words": [...]} and for a Ctrl-C {"interrupt": true}. The service sends {"said": SENTENCE} for each step, and at the
end {"answer": the command's --json output}.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Union

from ..agents import ports
from ..errors import RoundhouseError, UsageError
from ..state.note import Report
from ..util import console, json_file

PATH = Path("/run/roundhouse-control.sock")
# Set for a command that the service has started: that command does the work itself.
ALONE = "ROUNDHOUSE_ALONE"
# systemd's variables for the service alone.
_SYSTEMDS = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
_FIRST_FILE = 3  # the first socket from systemd, see sd_listen_fds(3)
_HELLO_SECONDS = 5.0
_LONGEST_FRAME = 64 << 10
_Request = Union[socket.socket, tuple[bytes, socket.socket]]  # of socketserver; the latter is for datagrams


def command(words: list[str], stderr: int | None = None) -> subprocess.Popen[str]:
    """Start the service's own command with these words; its messages go to the journal, or to a pipe."""
    return subprocess.Popen(
        [sys.argv[0], "--json", *words],
        env={ALONE: "1", **{name: value for name, value in os.environ.items() if name not in _SYSTEMDS}},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        start_new_session=True,
    )


def report_here() -> Report:
    """Return the report of a command: plain lines if the service started it, else lines with the seconds."""
    return console.lines() if ALONE in os.environ else console.progress()


def ask(words: list[str], report: Report) -> dict[str, Any] | None:
    """Let the service run the command and return its JSON object; None where no service runs.

    Raises the error of the command.
    """
    if ALONE in os.environ:
        return None
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(_HELLO_SECONDS)
        try:
            line.connect(str(PATH))
            with line.makefile("rw") as lines:
                # Send nothing before the service answers: it might run the command later, a second time.
                if not lines.readline():
                    return None
                line.settimeout(None)
                _send(lines, {"words": words})
                return _answer(_hear(lines, report))
        except (FileNotFoundError, ConnectionRefusedError, PermissionError):
            return None
        except TimeoutError:
            report("the control service does not answer: continuing without it")
            return None


def _hear(lines: IO[str], report: Report) -> dict[str, Any]:
    while True:
        try:
            for line in lines:
                told = json.loads(line)
                if "answer" in told:
                    return dict(told["answer"])
                report(told["said"])
            raise RoundhouseError(
                "control_service_ended",
                "The control service ended. A switch that has begun continues.",
                "Run `roundhouse status`.",
            )
        except KeyboardInterrupt:  # read on: the rollback is reported too
            _send(lines, {"interrupt": True})


def _send(lines: IO[str], told: Mapping[str, object]) -> None:
    lines.write(json.dumps(told) + "\n")
    lines.flush()


def _answer(told: dict[str, Any]) -> dict[str, Any]:
    if told["ok"]:
        return {name: value for name, value in told.items() if name not in ("schema", "ok", "errors")}
    problem = told["errors"][0]
    kind = UsageError if told.get("rc") == UsageError.exit_code else RoundhouseError
    raise _with_holder(kind.from_json(problem))


def _with_holder(error: RoundhouseError) -> RoundhouseError:
    """Name the process that holds a port: the service may not read the files of other processes, root's command may."""
    found = ports.holder(int(str(error.fields["port"]))) if error.code == "port_in_use" else None
    if found:
        error.text = error.text.replace(str(error.fields["holder"]), str(found))
        error.fields["holder"] = str(found)
    return error


def answer_of(told: str, status: int) -> dict[str, Any]:
    """Return the object that a command printed; an error for a command that was killed before it printed one."""
    with contextlib.suppress(ValueError):
        found = json.loads(told)
        if isinstance(found, dict) and "ok" in found:
            return found
    how = f"signal {-status}" if status < 0 else f"exit status {status}"
    error = RoundhouseError(
        "command_ended_without_result",
        "The control service's command ended with {how} and printed no result.",
        "Run `roundhouse status`; an interrupted switch is completed or undone within a minute.",
        how=how,
    )
    return {"schema": console.SCHEMA, "ok": False, "errors": [error.as_json()]}


@contextmanager
def listening() -> Iterator[Callable[[], bool]]:
    """Accept commands, and yield a function that returns whether one runs. Raises RoundhouseError without systemd."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        raise RoundhouseError(
            "not_started_by_systemd",
            "Only systemd starts this service.",
            "Run `systemctl start roundhouse-control.socket`.",
        )
    with _Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.busy
        finally:
            server.shutdown()


def words_of(frame: bytes) -> list[str] | None:
    """Return the words of a command's frame, None for any other frame or a part of one."""
    try:
        told = json_file.parse(frame)
    except ValueError:
        return None
    words = told.get("words") if isinstance(told, dict) else None
    if not isinstance(words, list) or not all(isinstance(word, str) and word.isprintable() for word in words):
        return None
    return words


class _Handler(socketserver.StreamRequestHandler):
    """One command."""

    def handle(self) -> None:
        """Start the command, and pass on its reports and its result."""
        self._tell({"hello": os.getpid()})
        words = words_of(self.rfile.readline(_LONGEST_FRAME))
        if words is None:
            return
        process = command(words, stderr=subprocess.PIPE)
        threading.Thread(target=self._interrupts, args=(process,), daemon=True).start()
        with ThreadPoolExecutor(1) as pool:
            # At the same time, because a command that fills one pipe waits until it is read.
            told = pool.submit(lambda: process.stdout.read() if process.stdout else "")
            for line in process.stderr or []:
                self._tell({"said": line.strip()})
        self._tell({"answer": {**answer_of(told.result(), process.wait()), "rc": process.returncode}})

    def finish(self) -> None:
        """Wake the thread that reads interrupts: it holds the lock of the file that this closes."""
        with contextlib.suppress(OSError):  # the client has closed the connection
            self.connection.shutdown(socket.SHUT_RD)
        super().finish()

    def _interrupts(self, process: subprocess.Popen[str]) -> None:
        # A closed connection counts as an interrupt too.
        self.rfile.readline()
        if process.poll() is None:
            process.send_signal(signal.SIGINT)

    def _tell(self, told: Mapping[str, object]) -> None:
        with contextlib.suppress(BrokenPipeError):  # the command is gone; its switch continues
            self.wfile.write(json.dumps(told).encode() + b"\n")


class _Server(socketserver.ThreadingUnixStreamServer):
    """The service's server, on the socket that systemd opened."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(str(PATH), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = socket.socket(fileno=_FIRST_FILE)
        self._commands: set[object] = set()

    def busy(self) -> bool:
        """Return whether a command runs; it would lose its answer if the service ended now."""
        return bool(self._commands)

    def process_request(self, request: _Request, client_address: object) -> None:
        """Count the command before its thread starts."""
        self._commands.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: _Request) -> None:
        """Stop counting the command."""
        super().shutdown_request(request)
        self._commands.discard(request)
