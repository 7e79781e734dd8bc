"""The start of a command: what it imports, and how long engines that do not answer delay it."""

import json
import selectors
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pynvml
import pytest
from small_server import served
from stand_in_host import READY, STOPPED, Engine, Host, agent

from roundhouse.agents import status
from roundhouse.host import gpu, systemd
from roundhouse.paths import CHECKOUT, IMPORT_ROOT
from roundhouse.state import serving

# Modules that take long to import, and what each is for.
HTTP = {"http.client", "ssl", "email.parser", "roundhouse.vllm.client", "roundhouse.agents.drift"}
CARD = {"ctypes", "pynvml", "roundhouse.host.gpu", "roundhouse.agents.gpu_memory"}
DIAGNOSIS = {"roundhouse.doctor.causes", "roundhouse.doctor.diagnosis", "roundhouse.agents.start_history"}
PLANNING = {"roundhouse.models.manifest", "roundhouse.plan.build", "roundhouse.catalog.recipes", "yaml"}
OTHER_HOST = {"roundhouse.cli.remote", "roundhouse.host.docker", "secrets"}
LIBRARY = {"asyncio", "concurrent.futures", "difflib", "hashlib", "logging", "shutil", "tempfile", "urllib.request"}
ALWAYS_LATE = (
    DIAGNOSIS
    | PLANNING
    | OTHER_HOST
    | {"_strptime", "encodings.idna"}
    | {"asyncio", "concurrent.futures", "difflib", "logging", "tempfile"}
)
SHOW = "print(__import__('json').dumps(sorted(sys.modules)), file=sys.stderr)"
SECONDS = 0.4


def imported(command, **options):
    """Return the modules that a program has imported at its end; -S: none of this environment's own start."""
    done = subprocess.run([sys.executable, "-S", *command], capture_output=True, text=True, check=False, **options)
    return done, set(json.loads(done.stderr.splitlines()[-1]))


def on_host(host, *words):
    # On a host, NVIDIA's client lies beside the package.
    environment = {**host.environment(), "PYTHONPATH": str(Path(pynvml.__file__).parent)}
    done, modules = imported(host.program(IMPORT_ROOT, *words, after=SHOW), env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout, modules


def test_status_without_a_card_and_a_running_engine_imports_neither_http_nor_nvml(tmp_path):
    host = Host(tmp_path, [agent(0, 9), agent(1, 10)], [STOPPED, STOPPED])
    text, modules = on_host(host, "status")
    assert text.count("stopped") == 2
    assert modules & (HTTP | CARD | ALWAYS_LATE | LIBRARY) == set()


def test_status_of_a_running_engine_imports_no_more_than_http_and_the_drift(tmp_path):
    with served(Engine) as engine:
        host = Host(tmp_path, [agent(0, engine.server_port), agent(1, 10)], [READY, STOPPED])
        text, modules = on_host(host, "status")
    assert "1 running, 0 waiting" in text
    assert modules & (CARD | ALWAYS_LATE) == set()
    assert modules >= HTTP  # the names of the list are right


def test_status_of_a_plan_with_cards_imports_nvidias_client_only_with_a_driver(tmp_path):
    if gpu.state().error != gpu.LIBRARY_NOT_FOUND:
        pytest.skip("this machine has NVIDIA's driver, so the client is imported")
    host = Host(tmp_path, [agent(0, 9, gpus=[0])], [STOPPED], accelerator="cuda")
    _, modules = on_host(host, "status")
    assert modules & CARD == CARD - {"pynvml"}


def test_the_list_of_commands_imports_no_command_and_no_program(tmp_path):
    host = Host(tmp_path, [agent(0, 9)], [STOPPED])
    text, modules = on_host(host, "--help")
    assert "  status        show each agent" in text
    assert [name for name in modules if name.startswith("roundhouse.cli.commands.")] == ["roundhouse.cli.commands.help"]
    assert modules & (HTTP | CARD | ALWAYS_LATE | LIBRARY | {"subprocess"}) == set()


def test_a_requested_stop_imports_no_diagnosis_and_asks_no_engine(tmp_path):
    """Check the hook ExecStopPost=, for which each stop within a switch waits."""
    host = Host(tmp_path, [agent(0, 9)], [STOPPED])
    _, modules = on_host(host, "ended", "agent-0")
    assert modules & (HTTP | CARD | ALWAYS_LATE | LIBRARY) == set()


def test_a_plan_for_named_cards_asks_no_card_and_imports_no_hub():
    code = "import sys; sys.argv = ['plan.py', '--model', 'Qwen/Qwen2.5-7B-Instruct-AWQ', '--gpu', '4090']; "
    code += f"sys.path.insert(0, {str(IMPORT_ROOT)!r}); from roundhouse.cli.plan import main; main(); {SHOW}"
    done, modules = imported(["-c", code], cwd=CHECKOUT)
    assert "fits" in done.stdout
    assert modules & (HTTP | CARD | OTHER_HOST | {"roundhouse.models.hub", "roundhouse.models.manifest"}) == set()


class Silent:
    """Sockets that accept and never answer; `most_open` is the largest number of connections open at once."""

    def __init__(self, count):
        self.listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        self.ports = [each.getsockname()[1] for each in self.listeners]
        self.most_open, self._connections = 0, []
        self._waker, self._end = socket.socketpair()

    def __enter__(self):
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.close()
        self._thread.join()
        for each in (*self.listeners, *self._connections, self._waker):
            each.close()

    def _accept(self):
        with selectors.DefaultSelector() as selector:
            for each in (*self.listeners, self._waker):
                selector.register(each, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._waker:
                        return
                    self._connections = [each for each in self._connections if self._is_open(each)]
                    self._connections.append(key.fileobj.accept()[0])
                    self.most_open = max(self.most_open, len(self._connections))

    @staticmethod
    def _is_open(connection):
        try:
            while connection.recv(4096, socket.MSG_DONTWAIT):
                pass
        except BlockingIOError:
            return True
        except OSError:
            pass
        connection.close()
        return False


@pytest.fixture
def rows(monkeypatch, tmp_path):
    """Return a function that returns the rows of agents whose units are ready, with engines on these ports."""
    unit = systemd.Unit("ready", False, 0, None, "success", None, None, 0, False, "a")
    monkeypatch.setattr(systemd, "show_all", lambda names: [unit for _ in names])
    monkeypatch.setattr(serving, "FOLDER", tmp_path)

    def of(ports):
        agents = [agent(number, port) for number, port in enumerate(ports)]
        return status.rows({"accelerator": "cpu", "engine_path": "/e", "agents": agents}, SECONDS)

    return of


def test_two_engines_that_never_answer_are_asked_at_once_and_each_row_says_which(rows):
    with Silent(2) as silent:
        found = rows(silent.ports)
    assert [row["problem"] for row in found] == [
        f"127.0.0.1:{port}/v1/models did not answer: timed out." for port in silent.ports
    ]
    assert silent.most_open == 2  # one deadline for both, not one after the other
    text = status.text(found, [], None)
    assert [f"agent-{number}: 127.0.0.1:{port}" in text for number, port in enumerate(silent.ports)] == [True, True]


def test_the_answers_of_one_engine_share_the_deadline(rows):
    class Slow(Engine):
        def do_GET(self):
            time.sleep(0.7 * SECONDS)
            super().do_GET()

    with served(Slow) as engine:
        (row,) = rows([engine.server_port])
    assert row["problem"] == f"127.0.0.1:{engine.server_port}/version did not answer: timed out."
    assert row["running"] is None


def test_an_engine_that_answers_has_its_row_beside_one_that_does_not(rows):
    asked = []

    class Counted(Engine):
        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

    with served(Counted) as engine, Silent(1) as silent:
        answers, hangs = rows([engine.server_port, *silent.ports])
    assert (answers["problem"], answers["version"], answers["running"], answers["kv_use"]) == (None, "0.32.0", 1, 0.4)
    assert (answers["max_model_len"], hangs["version"]) == (8192, None)
    assert hangs["problem"].startswith(f"127.0.0.1:{silent.ports[0]}/v1/models")
    assert sorted(asked) == ["/metrics", "/v1/models", "/version"]  # what the row shows, each once
