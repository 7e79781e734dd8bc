"""The control service's side of the connection to the command."""

import os
import socket

from clock import until

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
