"""A command that the control service runs for a person always ends with an answer, also if it was killed."""

import contextlib
import os
import signal
import socket
import threading

import pytest
from clock import TIMEOUT_SECONDS, until

from roundhouse.errors import RoundhouseError
from roundhouse.switch import daemon_socket

KILLED = '#!/bin/sh\necho "stopping dev" >&2\nkill -KILL $$\n'
SILENT = "#!/bin/sh\nexit 3\n"
DONE = '#!/bin/sh\necho \'{"schema": 1, "ok": true, "errors": [], "agent": "dev"}\'\n'


@pytest.fixture
def service(tmp_path, monkeypatch):
    """Return a function that runs the service with a command of that text, and yields its `busy`."""
    program = tmp_path / "roundhouse"
    monkeypatch.setattr(daemon_socket, "PATH", tmp_path / "control.sock")
    monkeypatch.setattr(daemon_socket.sys, "argv", [str(program)])
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))

    @contextlib.contextmanager
    def run(text):
        program.write_text(text)
        program.chmod(0o755)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(daemon_socket.PATH))
            listening.listen()
            monkeypatch.setattr(daemon_socket, "_FIRST_FILE", os.dup(listening.fileno()))
            with daemon_socket.listening() as busy:
                yield busy

    return run


def asked(report):
    """Ask the service, in a thread, and return its answer or its error."""
    found = []

    def ask():
        try:
            found.append(daemon_socket.ask(["dev"], report))
        except RoundhouseError as error:
            found.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(TIMEOUT_SECONDS)
    assert found, "the client waits"
    return found[0]


@pytest.mark.parametrize(("text", "how"), [(KILLED, f"signal {signal.SIGKILL.value}"), (SILENT, "exit status 3")])
def test_a_command_that_is_killed_ends_with_an_error_and_the_service_is_free_again(service, text, how):
    said = []
    with service(text) as busy:
        error = asked(said.append)
        until(lambda: not busy())
    assert (error.code, error.fields["how"]) == ("command_ended_without_result", how)
    assert said == (["stopping dev"] if text == KILLED else [])


def test_a_command_that_ends_well_passes_its_answer_on(service):
    with service(DONE) as busy:
        assert asked(str) == {"agent": "dev", "rc": 0}
        until(lambda: not busy())


def test_a_client_that_keeps_its_connection_does_not_keep_the_service_busy(service):
    with service(DONE) as busy, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(daemon_socket.PATH))
        client.sendall(b'{"words": ["dev"]}\n')
        until(lambda: b"answer" in client.recv(65536))
        until(lambda: not busy())


LONG = """#!/usr/bin/env python3
import json, sys
print(json.dumps({"ok": True, "errors": [], "text": "x" * 300_000}), flush=True)
print("the last report", file=sys.stderr, flush=True)
"""


def test_an_answer_longer_than_a_pipe_holds_arrives(service):
    said = []
    with service(LONG) as busy:
        assert len(asked(said.append)["text"]) == 300_000
        until(lambda: not busy())
    assert said == ["the last report"]
