"""Clients send requests during five switches. HAProxy, engines, journal and state are real; systemd is replaced.

molecule/gateway does the same on real units.
"""

import asyncio
import shutil
import signal

import pytest
from asking import ACROSS, Asking
from clock import until
from real_gateway import Gateway, create_files

from roundhouse.gateway import haproxy
from roundhouse.state import serving, switch_journal
from roundhouse.vllm import client

pytestmark = pytest.mark.skipif(not shutil.which("haproxy"), reason="HAProxy is not installed: make setup as root does")


class Held(Asking):
    """Short requests; those that a switch meets run until it lets them end."""

    calm_seconds, tokens, across_tokens = 0.3, 8, 20

    def __init__(self, table, requests):
        ports = {"any": table.ports.any, "dev": table.ports.dev, "po": table.ports.po}
        super().__init__("http://127.0.0.1", ports, ["none"], False, requests)
        self.engine_ports = {each["name"]: each["engine_port"] for each in table.plan["agents"]}
        self.hold = table.folder / "hold"
        self.engine = ("--tokens-per-second", "500", "--answer-while", self.hold)

    async def _begin_long(self, agent):
        """Return them once the engine has all: one that is still at the gateway when the switch begins is refused."""
        self.hold.touch()
        running = await super()._begin_long(agent)
        port = self.engine_ports[agent]
        await asyncio.to_thread(
            until, lambda: client.read("127.0.0.1", port).get("num_requests_running") == len(running)
        )
        return running


@pytest.fixture
def table(tmp_path, monkeypatch):
    create_files(tmp_path, monkeypatch)
    made = Gateway(tmp_path, waiting=100, wait_seconds=60).start()
    yield made
    made.end()


def turn(table, asking, leaves, comes, *, fails):
    """Do what a switch does, in its order; its drain begins once the clients know of it."""
    entry = switch_journal.Journal(comes, [leaves])
    entry.begin()
    table.publish()
    until(lambda: asking.wanted == comes)
    table.engines[leaves].send_signal(signal.SIGINT)
    asking.hold.unlink(missing_ok=True)
    table.engines[leaves].wait(90)
    table.engine(comes, *asking.engine, *(["--out-of-memory"] if fails else []))
    if fails:
        assert table.engines[comes].wait(60) == 1
        table.engine(leaves, *asking.engine)
    up = leaves if fails else comes
    until(lambda: engine_is_healthy(table, up))
    serving.record(up, [leaves if up == comes else comes])
    entry.end()
    table.publish()


def engine_is_healthy(table, name):
    port = next(each["engine_port"] for each in table.plan["agents"] if each["name"] == name)
    try:
        return table.ask("GET", "/health", port=port).status == 200
    except OSError:
        return False


@pytest.mark.parametrize(("switches", "failures", "requests"), [(5, 0, 500), (2, 2, 200)])
def test_nothing_is_lost_over_switches(table, switches, failures, requests, record_property):
    names = ["dev", "po", "dev", "po", "dev", "po"][: 1 + switches]
    left = [failures]

    def switch(name):
        other = "dev" if name == "po" else "po"
        while left[0]:
            left[0] -= 1
            turn(table, asking, other, name, fails=True)
        turn(table, asking, other, name, fails=False)

    def announced():
        return switch_journal.path().exists() and haproxy.is_current(table.plan)

    asking = Held(table, requests)
    table.serve("dev", *asking.engine)
    asyncio.run(asking.through(names, switch, announced))
    record_property("outcome", asking.told())
    assert [each for each in asking.outcomes if each != "answered"] == [], asking.told()
    assert len(asking.outcomes) >= requests
    assert asking.across == switches * ACROSS
    assert failures or asking.refused == 0
    assert max(asking.waited) > 0
