"""The control service's side of the connection to the command."""

import json
import os
import socket
import threading
from pathlib import Path

import pytest
from clock import until

from roundhouse.errors import RoundhouseError
from roundhouse.switch import daemon_socket


def test_the_service_knows_whether_a_command_runs(tmp_path, monkeypatch):
    opened = socket.socket(socket.AF_UNIX)
    opened.bind(str(tmp_path / "control.sock"))
    opened.listen()
    monkeypatch.setattr(daemon_socket, "PATH", tmp_path / "control.sock")
    # As systemd passes the socket.
    monkeypatch.setattr(daemon_socket, "_FIRST_FILE", opened.detach())
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    with daemon_socket.listening() as busy:
        assert not busy()
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(tmp_path / "control.sock"))
            assert b"hello" in line.recv(100)
            assert busy()
        until(lambda: not busy())


def test_a_command_of_the_service_reports_only_sentences(monkeypatch, capsys):
    monkeypatch.setenv(daemon_socket.ALONE, "1")
    daemon_socket.report_here()("dev is active on port 8001.")
    monkeypatch.delenv(daemon_socket.ALONE)
    daemon_socket.report_here()("dev is active on port 8001.")
    alone, timed = capsys.readouterr().err.splitlines()
    assert alone == "dev is active on port 8001."
    assert timed == f"[  0.0 s] {alone}"


def test_the_command_names_the_process_that_the_service_may_not_see(tmp_path, monkeypatch):
    """The service runs without the capability to read other processes, and its answer names none."""
    monkeypatch.setattr(daemon_socket, "PATH", tmp_path / "control.sock")
    with socket.create_server(("127.0.0.1", 0)) as held, socket.socket(socket.AF_UNIX) as service:
        port = held.getsockname()[1]
        text = "Port {port} of dev is used by {holder}. architect is active on port 8000."
        error = RoundhouseError("port_in_use", text, "Stop that process.", port=port, holder="another process")
        service.bind(str(tmp_path / "control.sock"))
        service.listen()
        answering = threading.Thread(target=answer_once, args=(service, {"ok": False, "errors": [error.as_json()]}))
        answering.start()
        with pytest.raises(RoundhouseError) as refused:
            daemon_socket.ask(["dev"], print)
        answering.join()
    name = Path("/proc/self/comm").read_text().strip()
    assert f"Port {port} of dev is used by {name} (pid {os.getpid()})" in refused.value.text
    assert refused.value.text.endswith("architect is active on port 8000.")


def answer_once(service, told):
    """Answer one command as the service does."""
    line, _ = service.accept()
    with line, line.makefile("rw") as lines:
        lines.write("{}\n")
        lines.flush()
        lines.readline()
        lines.write(json.dumps({"answer": told}) + "\n")
        lines.flush()
