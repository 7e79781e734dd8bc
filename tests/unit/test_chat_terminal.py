"""Test `roundhouse chat` as a person uses it: in a terminal, with a server that streams."""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import stat
import struct
import subprocess
import sys
import termios
import threading
import time
from types import SimpleNamespace

import pytest
from clock import TIMEOUT_SECONDS, until
from real_gateway import free_port
from small_server import Handler, served
from test_chat import planned
from test_chat_wrap import screen

from roundhouse.paths import IMPORT_ROOT

# The command with another plan and another control service: both have fixed paths on a host.
PROGRAM = """
import fcntl, pathlib, signal, sys, termios
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits that it is ignored
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # Ctrl-C in this terminal is a signal for this process
from roundhouse.cli import main
from roundhouse.plan import deployed
from roundhouse.switch import daemon_socket
deployed.PATH = pathlib.Path(sys.argv[1])
deployed.load.__defaults__ = (deployed.PATH,)
daemon_socket.PATH = deployed.PATH.with_name("control.sock")
raise SystemExit(main.main(sys.argv[2:]))
"""
KEY = "rh-a-secret-key"
COLUMNS, LINES = 80, 24


class Api(Handler):
    """Stream an answer that repeats the question; `slowly` streams until the client leaves."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        self.close_connection = True
        question = body["messages"][-1]["content"]
        if question == "late":
            self.server.proceed.wait(TIMEOUT_SECONDS)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            self.tell(f"You said {question!r}. ")
            while question == "slowly":
                self.tell("more ")
                time.sleep(0.02)
        except ConnectionError:
            self.server.left.append(question)
            return
        self.server.proceed.wait(TIMEOUT_SECONDS)
        self.tell("Bye\x1b]0;title\x07.", "stop")
        self.wfile.write(b"data: [DONE]\n\n")

    def tell(self, text, reason=None):
        choice = {"delta": {"content": text}, "finish_reason": reason}
        self.wfile.write(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")
        self.wfile.flush()


class Terminal:
    """The command in a terminal of 80x24."""

    def __init__(self, folder, *words):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        environment = os.environ | {
            "PYTHONPATH": str(IMPORT_ROOT),
            "XDG_STATE_HOME": str(folder / "state"),
            "TERM": "dumb",
        }
        for name in ("COLUMNS", "LINES"):  # the size is the terminal's
            environment.pop(name, None)
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder / "plan.json"), "chat", *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            start_new_session=True,
        )
        os.close(slave)
        self.seen = ""
        self.read = 0  # how much of it an `expect` has passed

    def expect(self, text):
        """Wait until the screen shows a text behind the last one, and return what stands between."""
        end = time.monotonic() + TIMEOUT_SECONDS
        while text not in self.seen[self.read :]:
            assert time.monotonic() < end, f"{text!r} is not in {self.seen[self.read :]!r}"
            self._take()
        at = self.seen.index(text, self.read)
        between, self.read = self.seen[self.read : at], at + len(text)
        return between

    def _take(self):
        if select.select([self.master], [], [], 0.1)[0]:
            with contextlib.suppress(OSError):  # it has ended
                self.seen += os.read(self.master, 65536).decode(errors="replace").replace("\r\n", "\n")

    def type(self, text):
        os.write(self.master, text.encode())

    def ended(self):
        """Return the exit status."""
        until(lambda: self._take() or self.process.poll() is not None)
        return self.process.returncode

    def ends_within(self, seconds):
        """Return whether it ends in time."""
        end = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < end:
            self._take()
        return self.process.poll() is not None

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(TIMEOUT_SECONDS)
        os.close(self.master)


@pytest.fixture
def api(tmp_path):
    with served(Api) as server:
        server.asked, server.left, server.proceed = [], [], threading.Event()
        server.proceed.set()
        (tmp_path / "plan.json").write_text(json.dumps(planned(server.server_port)))
        yield server


@pytest.fixture
def chat(api, tmp_path):
    """Return a function that starts the command in a terminal, and waits for its prompt."""
    started = []

    def start(*words):
        terminal = Terminal(tmp_path, *words)
        started.append(terminal)
        terminal.expect("dev> ")
        return terminal

    yield start
    for each in started:
        each.close()


def contents(body):
    return [(message["role"], message["content"]) for message in body["messages"]]


def test_an_answer_is_shown_as_it_arrives_and_the_conversation_continues(chat, api):
    terminal = chat("dev")
    api.proceed.clear()
    terminal.type("one\r")
    terminal.expect("You said 'one'. ")
    assert "Bye" not in terminal.seen
    api.proceed.set()
    # The model's control characters are removed: it must not set the terminal's title.
    assert terminal.expect("dev> ") == "Bye]0;title.\n"
    terminal.type("two\r")
    terminal.expect("You said 'two'. Bye")
    terminal.expect("dev> ")
    terminal.type("\x04")
    assert terminal.ended() == 0
    assert contents(api.asked[1]) == [
        ("user", "one"),
        ("assistant", "You said 'one'. Bye\x1b]0;title\x07."),
        ("user", "two"),
    ]


def test_a_backslash_and_quotes_make_messages_of_several_lines(chat, api):
    terminal = chat("dev")
    terminal.type("first\\\r")
    terminal.expect("... ")
    terminal.type("second\r")
    terminal.expect("dev> ")
    terminal.type('"""\r')
    terminal.expect("... ")
    terminal.type("  def f():\r")
    terminal.expect("... ")
    terminal.type("    pass\r")
    terminal.expect("... ")
    terminal.type('"""\r')
    terminal.expect("You said")
    terminal.expect("dev> ")
    terminal.type("\r")  # an empty line asks nothing
    terminal.expect("dev> ")
    assert [contents(each)[-1][1] for each in api.asked] == ["first\nsecond", "def f():\n    pass"]


def test_ctrl_c_stops_the_answer_and_the_program_stays(chat, api):
    terminal = chat("dev")
    terminal.type("slowly\r")
    terminal.expect("more more ")
    terminal.type("\x03")
    terminal.expect("(stopped)")
    terminal.expect("dev> ")
    until(lambda: api.left == ["slowly"])
    terminal.type("half a line\x03")
    terminal.expect("dev> ")
    terminal.type("again\r")
    terminal.expect("You said 'again'")
    terminal.expect("dev> ")
    roles = [role for role, _ in contents(api.asked[-1])]
    assert roles == ["user", "assistant", "user"]
    assert contents(api.asked[-1])[1][1].startswith("You said 'slowly'. more more ")
    terminal.type("/quit\r")
    assert terminal.ended() == 0


def test_the_system_prompt_and_the_conversation_can_be_changed(chat, api):
    terminal = chat("dev", "--system", "Be brief.")
    for typed in ("one\r", "/system Be kind.\r", "two\r", "/clear\r", "three\r", "/system\r", "four\r"):
        terminal.type(typed)
        terminal.expect("dev> ")
    asked = [contents(each) for each in api.asked]
    assert [each[0] for each in asked] == [
        ("system", "Be brief."),
        ("system", "Be kind."),
        ("system", "Be kind."),
        ("user", "three"),
    ]
    assert [len(each) for each in asked] == [2, 4, 2, 3]


def test_help_lists_the_commands_and_a_misspelt_one_is_suggested(chat, api):
    terminal = chat("dev")
    terminal.type("/help\r")
    shown = terminal.expect("dev> ")
    assert all(word in shown for word in ("/switch AGENT", "/system TEXT", "/clear", "/quit", "Ctrl-C"))
    terminal.type("/swich po\r")
    assert "Did you mean /switch?" in terminal.expect("dev> ")
    assert api.asked == []


def test_the_history_has_mode_0600_the_arrow_keys_and_no_key(chat, api, tmp_path):
    (tmp_path / "a.key").write_text(f"{KEY}\n")
    first = chat("dev", "--key", str(tmp_path / "a.key"))
    for typed in ("remember me\r", f"my key is {KEY}\r"):
        first.type(typed)
        first.expect("Bye")
        first.expect("dev> ")
    first.type("\x04")
    assert first.ended() == 0
    file = tmp_path / "state/roundhouse/chat_history"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "remember me" in file.read_text()
    assert KEY not in file.read_text()
    assert api.asked[0]["messages"][-1]["content"] == "remember me"
    second = chat("dev")
    second.type("\x1b[A")  # up
    second.expect("remember me")
    second.type("\r")
    second.expect("Bye")
    assert contents(api.asked[-1]) == [("user", "remember me")]


def test_without_a_writable_folder_the_conversation_works(chat, api, tmp_path):
    (tmp_path / "state").write_text("")
    terminal = chat("dev")
    terminal.type("hello\r")
    terminal.expect("You said 'hello'")
    assert (tmp_path / "state").read_text() == ""


@contextlib.contextmanager
def control_service(folder, answer):
    """Do a switch as the control service of a host: note the words, report two sentences, and answer."""
    asked = []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "control.sock"))
        listening.listen()

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    line, _ = listening.accept()
                    with line, line.makefile("rw") as file:
                        for told in ({"hello": 1},):
                            file.write(json.dumps(told) + "\n")
                            file.flush()
                        asked.append(json.loads(file.readline())["words"])
                        for told in ({"said": "draining dev"}, {"said": "starting po"}, {"answer": answer}):
                            file.write(json.dumps(told) + "\n")
                        file.flush()

        threading.Thread(target=serve, daemon=True).start()
        yield asked
        listening.shutdown(socket.SHUT_RDWR)


def test_a_switch_shows_its_progress_and_the_next_question_goes_to_the_new_agent(chat, api, tmp_path):
    port = free_port()
    (tmp_path / "plan.json").write_text(json.dumps(planned(api.server_port, port)))
    answer = {"schema": 2, "ok": True, "errors": [], "agent": "po", "stages": {"start": 1.5}, "cut": 0}
    with control_service(tmp_path, answer) as asked:
        terminal = chat("dev")
        terminal.type("hello\r")
        terminal.expect("dev> ")
        with served(Api, port) as other:
            other.asked, other.left, other.proceed = [], [], api.proceed
            terminal.type("/switch po --drain 5\r")
            shown = terminal.expect("po> ")
            assert "draining dev" in shown
            assert "starting po" in shown
            assert re.search(r"The model is now Qwen/po\.\s+The conversation continues, with 2 messages", shown)
            terminal.type("and now?\r")
            terminal.expect("You said 'and now?'. Bye")
            assert contents(other.asked[0])[-1] == ("user", "and now?")
            assert len(contents(other.asked[0])) == 3
            assert other.asked[0]["model"] == "po"
    assert asked == [["po", "--drain", "5"]]


def test_a_switch_that_fails_leaves_the_conversation_with_its_agent(chat, tmp_path):
    error = {"code": "start_failed", "message": "po failed.", "text": "po failed.", "remedy": "", "fields": {}}
    with control_service(tmp_path, {"schema": 2, "ok": False, "errors": [error]}):
        terminal = chat("dev")
        terminal.type("/switch po\r")
        assert "po failed." in terminal.expect("dev> ")
        for typed in ("/switch nosuch\r", "/switch\r"):
            terminal.type(typed)
            assert "Write" in terminal.expect("dev> ")


def test_the_wait_for_an_agent_that_starts_is_counted_and_removed(chat, api, tmp_path):
    plan = planned(api.server_port)
    plan["agents"][0]["engine_port"] = free_port()  # its engine does not listen yet; the gateway holds the request
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    terminal = chat("dev")
    api.proceed.clear()
    terminal.type("late\r")
    terminal.expect("starting dev: 1 s")
    terminal.expect("starting dev: 2 s")
    api.proceed.set()
    terminal.expect("\r\x1b[KYou said 'late'. Bye")


def test_an_agent_that_is_not_loaded_leaves_the_program_running(chat, api):
    terminal = chat("dev")
    api.shutdown()
    api.server_close()
    terminal.type("hello\r")
    shown = " ".join(terminal.expect("dev> ").split())
    assert "dev does not answer" in shown
    assert "roundhouse dev" in shown


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_program(chat, number):
    terminal = chat("dev")
    # Python's readline misses a signal between its prompt and its first look at the terminal.
    until(lambda: terminal.process.send_signal(number) or terminal.ends_within(2))
    assert terminal.process.returncode == 130


def test_one_question_in_a_terminal_prints_the_answer_and_ends(api, tmp_path):
    terminal = Terminal(tmp_path, "dev", "hello")
    try:
        assert terminal.ended() == 0
        assert terminal.expect("Bye").strip() == "You said 'hello'."
    finally:
        terminal.close()
    assert SimpleNamespace(**api.asked[0]).model == "dev"


@pytest.mark.usefixtures("api")
def test_one_answer_in_a_terminal_of_80_columns_cuts_no_word_and_has_no_control_characters(tmp_path):
    question = "which of these words reaches the margin of eighty columns before it is complete"
    terminal = Terminal(tmp_path, "dev", question)
    try:
        assert terminal.ended() == 0
    finally:
        terminal.close()
    lines = screen(terminal.seen, COLUMNS)
    assert " ".join(lines).split() == f"You said {question!r}. Bye]0;title.".split()
    assert len(lines[0]) < COLUMNS
    assert len(lines) > 1
