"""OpenAI's client, as a user makes it, asks two agents in turn on demand.

HAProxy, engines, scheduler, offers and routes are real; a thread replaces the control service and systemd.
molecule/gateway does the same with three agents on real units.
"""

import shutil
import threading
import time

import openai
import pytest
from clock import until
from real_gateway import Gateway, create_files

from roundhouse.gateway import haproxy, on_demand
from roundhouse.gateway.scheduler import Scheduler, Settings
from roundhouse.state import serving

pytestmark = pytest.mark.skipif(not shutil.which("haproxy"), reason="HAProxy is not installed: make setup as root does")
REQUESTS = 10
EVERY_SECONDS = 0.05
RULES = Settings(0.2, 5, 10, 0, (), ())


class Service(threading.Thread):
    """Observe, decide and switch, as switch/daemon.py does."""

    def __init__(self, table):
        super().__init__(daemon=True)
        self.table, self.over, self.switches = table, threading.Event(), []
        self.conflicts = on_demand.conflicts(table.plan)
        self.scheduler = Scheduler(RULES, self.conflicts, EVERY_SECONDS)

    def run(self):
        loaded = {"dev": time.monotonic()}
        while not self.over.wait(EVERY_SECONDS):
            loads, now = haproxy.read(list(self.conflicts)), time.monotonic()
            self.scheduler.observe(now, loaded, loads)
            on_demand.publish(on_demand.Offers(self.scheduler.startable(now), {}, []))
            haproxy.publish_routes(self.table.plan, print)
            if decision := self.scheduler.decide(now, loads):
                self.switch(decision.agent)
                loaded = {decision.agent: time.monotonic()}

    def switch(self, agent):
        for other in self.conflicts[agent]:
            engine = self.table.engines.pop(other)
            engine.kill()
            engine.wait()
        self.table.engine(agent)
        serving.record(agent, self.conflicts[agent])
        self.switches.append(agent)


def test_a_default_client_gets_each_answer_from_the_agent_it_asks(tmp_path, monkeypatch, record_property):
    table = Gateway(create_files(tmp_path, monkeypatch), on_demand=True).start()
    table.serve("dev")
    service = Service(table)
    service.start()
    try:
        until(lambda: on_demand.offers().asks == ["dev", "po"] and haproxy.is_current(table.plan))
        api = openai.OpenAI(base_url=f"http://127.0.0.1:{table.ports.any}/v1", api_key="none")
        names = [("po", "dev")[turn % 2] for turn in range(REQUESTS)]
        waits = []
        for name in names:
            raw = api.completions.with_raw_response.create(model=name, prompt="go on", max_tokens=2)
            assert (raw.parse().model, raw.headers["x-roundhouse-agent"]) == (name, name)
            waits.append(int(raw.headers["x-roundhouse-waited-ms"]))
    finally:
        service.over.set()
        service.join()
        table.end()
    record_property("outcome", f"waits in ms: {' '.join(map(str, waits))}")
    assert service.switches == names
    assert min(waits) > 0
