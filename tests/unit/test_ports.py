"""The process that listens on a port, by the real kernel."""

import os
import pwd
import socket
import subprocess
import sys
import types
from contextlib import nullcontext

import pytest

from roundhouse.agents import ports, prestart_checks
from roundhouse.errors import RoundhouseError
from roundhouse.host import systemd

EVERYWHERE = "0.0.0.0"  # noqa: S104 - a listener on all interfaces is the case under test


@pytest.mark.parametrize(
    ("family", "address"),
    [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, EVERYWHERE), (socket.AF_INET6, "::")],
)
def test_a_listener_is_found_with_its_process(family, address):
    with socket.socket(family) as listener:
        listener.bind((address, 0))
        listener.listen()
        found = ports.holder(listener.getsockname()[1])
    assert found is not None
    assert found.pid == os.getpid()
    assert f"(pid {os.getpid()})" in str(found)


def test_a_bound_socket_that_does_not_listen_holds_nothing():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert ports.holder(bound.getsockname()[1]) is None


LISTENS = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has the capabilities that a service drops")
def test_in_the_sandbox_of_a_service_the_account_is_named():
    """Without CAP_SYS_PTRACE, root cannot read the sockets of other accounts' processes."""
    sandbox = ["setpriv", "--bounding-set=-all,+dac_override", "--inh-caps=-all", sys.executable, "-c"]
    asks = "import sys; from roundhouse.agents import ports; print(ports.holder(int(sys.argv[1])))"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", LISTENS], text=True, **pipes) as other:
        port = other.stdout.readline().strip()
        done = subprocess.run([*sandbox, asks, port], capture_output=True, text=True, check=True)
        other.stdin.close()
    assert done.stdout.strip() == f"a process of {pwd.getpwuid(65534).pw_name}"


@pytest.mark.parametrize(("state", "refused"), [("ready", False), ("stopped", True)])
def test_an_unreadable_holder_is_the_ready_agent_itself(monkeypatch, state, refused):
    agent = {"name": "dev", "unit": "roundhouse-dev.service", "engine_port": 1, "gpus": []}
    monkeypatch.setattr(ports, "holder", lambda port: ports.Holder(None, None, None, "roundhouse"))
    monkeypatch.setattr(prestart_checks.safetensors, "of", lambda agent: [])
    monkeypatch.setattr(prestart_checks.gpu_memory, "require_usable", lambda agent: None)
    monkeypatch.setattr(prestart_checks.gpu_memory, "require_memory", lambda agent, stopping: None)
    monkeypatch.setattr(systemd, "show", lambda unit: types.SimpleNamespace(state=state))
    with pytest.raises(RoundhouseError, match="used by a process of roundhouse") if refused else nullcontext():
        prestart_checks.check_host(agent, [])
