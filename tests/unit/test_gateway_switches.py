"""Clients ask through five switches: HAProxy, engines, journal and state are real; systemd's part is played by hand.

molecule/gateway does the same on real units.
"""

import asyncio
import shutil
import signal
import sys
from pathlib import Path

import pytest
from real_gateway import Gateway, furnish, until

from roundhouse import journal, state

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "molecule"))
from asking import ACROSS, Asking

pytestmark = pytest.mark.skipif(not shutil.which("haproxy"), reason="HAProxy is not installed: make setup as root does")


@pytest.fixture
def table(tmp_path, monkeypatch):
    furnish(tmp_path, monkeypatch)
    made = Gateway(tmp_path, waiting=100, wait_seconds=60).start()
    made.serve("dev")
    yield made
    made.end()


def turn(table, leaves, comes, *, fails):
    """Do what a switch does, in its order."""
    entry = journal.Journal(comes, [leaves])
    entry.begin()
    table.track()
    stop(table, leaves)
    table.engine(comes, *(["--out-of-memory"] if fails else ["--load-seconds", "1"]))
    if fails:
        assert table.engines[comes].wait(60) == 1
        table.engine(leaves)
    up = leaves if fails else comes
    until(lambda: up_and_told(table, up))
    state.record(up, [leaves if up == comes else comes])
    entry.end()
    table.track()


def stop(table, name):
    table.engines[name].send_signal(signal.SIGINT)
    table.engines[name].wait(90)


def up_and_told(table, name):
    port = next(each["engine_port"] for each in table.plan["agents"] if each["name"] == name)
    try:
        return table.ask("GET", "/health", port=port).status == 200
    except OSError:
        return False


@pytest.mark.parametrize(("switches", "failures", "requests"), [(5, 0, 500), (5, 2, 500)])
def test_nothing_is_lost_over_switches(table, switches, failures, requests, record_property):
    names = ["dev", "po", "dev", "po", "dev", "po"][: 1 + switches]
    left = [failures]

    def switch(name):
        other = "dev" if name == "po" else "po"
        while left[0]:
            left[0] -= 1
            turn(table, other, name, fails=True)
        turn(table, other, name, fails=False)

    ports = {"any": table.ports.any, "dev": table.ports.dev, "po": table.ports.po}
    asking = Asking("http://127.0.0.1", ports, ["none"], False, requests)
    asyncio.run(asking.through(names, switch, journal.path().exists))
    record_property("outcome", asking.told())
    assert [each for each in asking.outcomes if each != "answered"] == [], asking.told()
    assert len(asking.outcomes) >= requests
    assert asking.across == switches * ACROSS
    assert failures or asking.refused == 0
    assert max(asking.waited) > 0
