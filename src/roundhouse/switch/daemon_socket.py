"""The command and the control service: while the service runs, it does a switch by hand, and reports line by line.

One object a line. The service says {"hello": its process}; the command sends {"words": [...]}, and {"interrupt": true}
later, if at all; it gets {"said": SENTENCE} as it goes on and at the end {"answer": what --json prints}.
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
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ..errors import RoundhouseError, UsageError
from ..state.note import Report
from ..util import console

PATH = Path("/run/roundhouse-control.sock")
# Set for a command that the service has started: it does the work itself.
ALONE = "ROUNDHOUSE_ALONE"
# What systemd tells the service itself.
_SYSTEMDS = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
_FIRST_FILE = 3  # where systemd hands a socket over, see sd_listen_fds(3)
_HELLO_SECONDS = 5.0
_Request = socket.socket | tuple[bytes, socket.socket]  # of socketserver; the latter is for datagrams


def command(words: list[str], stderr: int | None = None) -> subprocess.Popen[str]:
    """Start the command that this service was started as; what it says goes to the journal, or to a pipe."""
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
    """Return how a command reports: by lines alone where the service started it, else with the seconds."""
    return console.lines() if ALONE in os.environ else console.progress()


def ask(words: list[str], report: Report) -> dict[str, Any] | None:
    """Let the service do it and return the command's object; None where no service runs.

    Raises what the command would have raised itself.
    """
    if ALONE in os.environ:
        return None
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(_HELLO_SECONDS)
        try:
            line.connect(str(PATH))
            with line.makefile("rw") as lines:
                # Nothing is asked before it answers: else it might do later what was done without it.
                if not lines.readline():
                    return None
                line.settimeout(None)
                _send(lines, {"words": words})
                return _answer(_hear(lines, report))
        except (FileNotFoundError, ConnectionRefusedError, PermissionError):
            return None
        except TimeoutError:
            report("the control service does not answer: doing it without it")
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
                "The control service ended; a switch goes on.",
                "See roundhouse status.",
            )
        except KeyboardInterrupt:  # the rollback is reported too
            _send(lines, {"interrupt": True})


def _send(lines: IO[str], told: Mapping[str, object]) -> None:
    lines.write(json.dumps(told) + "\n")
    lines.flush()


def _answer(told: dict[str, Any]) -> dict[str, Any]:
    if told["ok"]:
        return {name: value for name, value in told.items() if name not in ("schema", "ok", "errors")}
    problem = told["errors"][0]
    kind = UsageError if told.get("rc") == UsageError.exit_code else RoundhouseError
    raise kind.from_json(problem)


@contextmanager
def listening() -> Iterator[Callable[[], bool]]:
    """Accept commands, and yield what tells whether one runs. Raises RoundhouseError without a socket of systemd's."""
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


class _Handler(socketserver.StreamRequestHandler):
    """One command."""

    def handle(self) -> None:
        """Start it, pass on what it reports, and its result."""
        self._tell({"hello": os.getpid()})
        asked = self.rfile.readline()
        if not asked:
            return
        process = command(json.loads(asked)["words"], stderr=subprocess.PIPE)
        threading.Thread(target=self._interrupts, args=(process,), daemon=True).start()
        for line in process.stderr or []:
            self._tell({"said": line.strip()})
        told, _ = process.communicate()
        self._tell({"answer": {**json.loads(told), "rc": process.returncode}})

    def _interrupts(self, process: subprocess.Popen[str]) -> None:
        # A command that is gone wants the end of its switch too.
        self.rfile.readline()
        if process.poll() is None:
            process.send_signal(signal.SIGINT)

    def _tell(self, told: Mapping[str, object]) -> None:
        with contextlib.suppress(BrokenPipeError):  # it is gone; its switch goes on to its end
            self.wfile.write(json.dumps(told).encode() + b"\n")


class _Server(socketserver.ThreadingUnixStreamServer):
    """The service's end, on the socket that systemd has opened."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(str(PATH), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = socket.socket(fileno=_FIRST_FILE)
        self._commands: set[object] = set()

    def busy(self) -> bool:
        """Return whether a command runs: it would lose its answer if the service ended now."""
        return bool(self._commands)

    def process_request(self, request: _Request, client_address: object) -> None:
        """Count it from here on, not from where its thread begins."""
        self._commands.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: _Request) -> None:
        """Count it no more."""
        super().shutdown_request(request)
        self._commands.discard(request)
