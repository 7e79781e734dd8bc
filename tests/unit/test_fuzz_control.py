"""Generated frames on the control socket: only a list of words starts a command, and the service continues."""

import json
import os
import signal
import socket
import subprocess
import traceback

import pytest
from clock import until
from fuzz import run

from roundhouse.switch import daemon_socket

ANSWER = '{"ok": true}'


@pytest.fixture
def service(tmp_path, monkeypatch):
    """Run the service on a socket of the test; yield its path, the words of its commands, and its exceptions."""
    path, asked, errors = tmp_path / "control.sock", [], []
    opened = socket.socket(socket.AF_UNIX)
    opened.bind(str(path))
    opened.listen()

    def command(words, stderr=None):
        asked.append(words)
        # The end of a frame counts as an interrupt, which this command ignores from its begin.
        how = {"stdout": subprocess.PIPE, "stderr": stderr, "text": True, "preexec_fn": ignore_interrupts}
        return subprocess.Popen(["echo", ANSWER], **how)

    monkeypatch.setattr(daemon_socket, "PATH", path)
    monkeypatch.setattr(daemon_socket, "_FIRST_FILE", opened.detach())
    monkeypatch.setattr(daemon_socket, "command", command)
    monkeypatch.setattr(daemon_socket._Server, "handle_error", lambda *_: errors.append(traceback.format_exc()))
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    with daemon_socket.listening() as busy:
        yield path, asked, errors
        until(lambda: not busy())


def ignore_interrupts():
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def sent(path, frame):
    """Send a frame and the end of the connection; return the answers as far as they come."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(30)
        line.connect(str(path))
        line.sendall(frame)
        line.shutdown(socket.SHUT_WR)
        answers = b""
        try:
            while piece := line.recv(4096):
                answers += piece
        except ConnectionResetError:  # the service has closed it with a part of the frame unread
            pass
        return answers


def frame(draw):
    """Return a frame: of a command, of any other shape, damaged, or too long."""
    whole = json.dumps({"words": ["dev", draw.text().replace("\ud800", "")]}).encode() + b"\n"
    kind = draw.randrange(6)
    if kind == 0:
        return json.dumps(draw.anything()).encode() + b"\n"
    if kind == 1:
        return json.dumps({"words": draw.anything()}).encode() + b"\n"
    if kind == 2:
        return draw.choice([b"", b"\n", b"\xff\n", b"[" * 70_000, b'{"words": ["' + b"a" * 200_000, b'{"words"'])
    return draw.damaged(whole) if kind == 3 else whole


def test_generated_frames(service):
    path, asked, errors = service

    def check(draw):
        sent(path, frame(draw))
        assert errors == []
        assert all(isinstance(word, str) and "\0" not in word for words in asked for word in words)

    run("frames of the control socket", check)
    assert asked
    assert ANSWER.strip("{}") in sent(path, b'{"words": ["dev"]}\n').decode()


@pytest.mark.parametrize(
    "frame", [b"", b"[]", b"7", b'{"words": "dev"}', b'{"words": [7]}', b'{"words": ["a\\u0000b"]}', b"[" * 65536]
)
def test_only_a_frame_of_a_command_starts_one(frame):
    assert daemon_socket.words_of(frame) is None


def test_the_words_of_a_command_are_taken_as_they_are():
    assert daemon_socket.words_of(b'{"words": ["dev", "--drain", "5"]}\n') == ["dev", "--drain", "5"]
