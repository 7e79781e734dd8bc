"""The gateway's unit: its sandbox, and the access to HAProxy's socket."""

import re
import shutil
import subprocess

import pytest
from real_gateway import ROLE, Gateway, create_files, render, starting

from roundhouse.gateway import config, haproxy, keys
from roundhouse.paths import CHECKOUT

MOST_EXPOSURE = 2.0
needs_haproxy = pytest.mark.skipif(
    not shutil.which("haproxy"), reason="HAProxy is not installed: make setup as root does"
)
# What the program sends; the test of the level sends each.
SENT = re.compile(r'f?"((?:set|add|del) map|show [a-z]+|roundhouse [a-z]+)\b')


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Give the gateway's files a folder of their own, with one key."""
    create_files(tmp_path, monkeypatch)
    keys.ensure()
    return tmp_path


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze not found; it rates the unit")
@pytest.mark.parametrize("listen", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 - the case under test
def test_the_unit_is_confined(place, listen):
    table = Gateway(place, listen=listen)
    unit = place / "roundhouse-gateway.service"
    unit.write_text(render(config.build(table.plan, table.settings), "roundhouse-gateway.service.j2"))
    words = ["systemd-analyze", "security", "--offline=true", "--no-pager", unit]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    found = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found and float(found[1]) <= MOST_EXPOSURE, done.stdout + done.stderr
    for line in ("MemoryDenyWriteExecute=true", "CapabilityBoundingSet=", "OOMScoreAdjust=500", "MemoryMax=4096M"):
        assert line in unit.read_text().splitlines()


@needs_haproxy
def test_haproxys_only_socket_is_its_users_and_changes_no_engine(place):
    for start in starting(place, key_required=True):
        start()
        socket = place / "master.sock"
        assert socket.stat().st_mode & 0o777 == 0o600
        assert sorted(each.name for each in place.iterdir() if each.is_socket()) == ["master.sock"]
        for command in (
            "set server dev/engine addr 192.0.2.1",
            "expert-mode on; debug dev hex 0 1",
            "shutdown frontend API",
        ):
            assert "Permission denied" in "".join(haproxy.ask_workers([command])), command


@needs_haproxy
def test_the_sockets_level_is_enough_for_all_that_the_program_sends(place):
    text = "".join((CHECKOUT / f"src/roundhouse/gateway/{name}.py").read_text() for name in ("haproxy", "keys"))
    sent = {
        "set map": f"set map {haproxy.routes_path()} dev off:1",
        "add map": f"add map {keys.MAP} {'0' * 64} name",
        "del map": f"del map {keys.MAP} {'0' * 64}",
        "show stat": "show stat -1 2 -1",
        "show map": f"show map {haproxy.routes_path()}",
        "roundhouse waiting": "roundhouse waiting",
        **{f"roundhouse {word}": f"roundhouse {word} dev a switch" for word in ("cut", "told")},
    }
    # The master answers `show proc`, and ask_workers() sends it.
    assert {found[1] for found in SENT.finditer(text)} <= {*sent, "show proc"}
    for start in starting(place, key_required=True):
        start()
        for command in sent.values():
            answers = haproxy.ask_workers([command])
            assert not [each for each in answers if re.search("denied|Unknown|not found|restricted", each)], command
        assert "dev off:1" in "".join(haproxy.ask_workers([f"show map {haproxy.routes_path()}"]))


def test_an_engine_cannot_reach_haproxys_socket():
    agents = CHECKOUT / "roles/agents/templates"
    assert "InaccessiblePaths=-/run/roundhouse-gateway" in (agents / "sandbox.j2").read_text().splitlines()
    # `ready` sends the start to the gateway, as root.
    assert "ExecStartPost=+/usr/local/bin/roundhouse ready" in (agents / "agent.service.j2").read_text()
    assert "SupplementaryGroups" not in (ROLE / "templates/roundhouse-gateway.service.j2").read_text()
