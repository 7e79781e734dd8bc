"""Retries of a failed agent by the control service. Clock, systemd, HAProxy and the command are stand-ins."""

import json
import os
from types import SimpleNamespace

import pytest
from real_gateway import DEFAULTS

from roundhouse.gateway import announced, config, haproxy, on_demand
from roundhouse.gateway.scheduler import Load
from roundhouse.host import systemd
from roundhouse.plan import build as plan_build
from roundhouse.state import serving, switch_journal
from roundhouse.switch import daemon, daemon_socket

COMMON = {"max_model_len": 4096, "gpu_memory_utilization": 0.9, "temperature": 0.3, "top_p": 0.95}
EPOCH = 1_795_966_178.5
RULES = {"on_demand": True, "in_use_seconds": 5, "min_active_seconds": 60, "max_wait_seconds": 120, "wait_seconds": 600}


class Host:
    """A host whose agent po does not start. A client repeats its request for po in each round."""

    def __init__(self):
        self.now, self.tries = 1000.0, []
        self.states = {"dev": "ready", "po": "failed"}

    def show_all(self, units):
        return [SimpleNamespace(state=state, started_monotonic_usec=1e6) for state in self.states.values()]

    def command(self, words):
        self.tries.append(self.now - 1000.0)
        answer = json.dumps({"ok": False, "errors": [{"message": f"{words[0]} did not start."}]})
        return SimpleNamespace(poll=lambda: 1, communicate=lambda: (answer, ""), returncode=1)

    def run(self, control, seconds):
        for _ in range(int(seconds)):
            control.round()
            self.now += 1.0


@pytest.fixture
def host():
    return Host()


@pytest.fixture
def control(host, tmp_path, monkeypatch):
    monkeypatch.setattr(serving, "FOLDER", tmp_path)
    monkeypatch.setattr(serving, "LOCK", tmp_path / "switch.lock")
    monkeypatch.setattr(on_demand, "PATH", tmp_path / "demand.json")
    monkeypatch.setattr(haproxy, "RUNTIME", str(tmp_path))
    monkeypatch.setattr(haproxy, "read", lambda names: {"dev": Load(), "po": Load(1, 1.0)})
    monkeypatch.setattr(systemd, "show_all", host.show_all)
    monkeypatch.setattr(daemon_socket, "command", host.command)
    clock = SimpleNamespace(monotonic=lambda: host.now, time=lambda: EPOCH + host.now - 1000.0)
    monkeypatch.setattr(daemon, "time", clock)
    monkeypatch.setattr(on_demand, "time", clock)
    roster = [
        {"name": name, "port": port, "models": [{"model": "/m"}], **COMMON}
        for name, port in (("dev", 8001), ("po", 8002))
    ]
    plan = plan_build.build(roster, plan_build.Settings("cpu", "/e", "/m", 1, 8080))
    on_demand.PATH.write_text(config.build(plan, config.Settings(**DEFAULTS | RULES))["demand"])
    serving.record("dev", ["po"])
    return daemon.Control(plan, str)


def test_the_gateway_gets_the_time_of_the_next_try(control, host):
    host.run(control, 2)
    assert announced.routes(control.plan)["po"] == f"failed:{int(EPOCH) + 61}"  # seen 1 s after the start
    host.run(control, 62)
    assert host.tries == [0.0, 61.0]
    assert announced.routes(control.plan)["po"] == f"failed:{int(EPOCH) + 62 + 120}"


def test_a_client_that_repeats_its_request_causes_ever_fewer_starts(control, host):
    host.run(control, 2000)
    assert host.tries == [0.0, 61.0, 182.0, 423.0, 904.0, 1865.0]


def test_a_switch_by_hand_that_makes_the_agent_ready_resets_the_wait(control, host):
    host.run(control, 200)
    host.states |= {"dev": "stopped", "po": "starting"}
    host.run(control, 2)
    assert control.scheduler.retries(host.now) != {}  # it is not ready yet
    host.states["po"] = "ready"
    host.run(control, 2)
    assert control.scheduler.retries(host.now) == {}
    host.states |= {"dev": "ready", "po": "failed"}
    begun = len(host.tries)
    host.run(control, 70)
    assert len(host.tries[begun:]) == 2
    assert host.tries[-1] - host.tries[-2] == 61.0


def test_a_deployment_resets_the_wait(control, host):
    on_demand.note_deployment(str)
    host.run(control, 200)
    assert host.tries[-1] == 182.0
    os.utime(
        serving.LOCK.parent / "deployment", (0, 0)
    )  # as another deployment, which the clock distinguishes from the first
    host.run(control, 2)
    assert host.tries[-1] == 200.0
    assert on_demand.last_deployment() == 0


def test_a_host_without_on_demand_notes_no_deployment(control, tmp_path):
    on_demand.PATH.unlink()
    on_demand.note_deployment(str)
    assert not (tmp_path / "deployment").exists()


def left(host):
    """Leave the journal of a killed switch."""
    serving.make_folder()
    switch_journal.Journal("po", ["dev"]).begin()
    host.words = []


def test_a_killed_switch_is_recovered_without_a_person(control, host, monkeypatch):
    left(host)
    monkeypatch.setattr(haproxy, "read", lambda names: {})
    finished = SimpleNamespace(poll=lambda: 0, communicate=lambda: ('{"ok": true}', ""), returncode=0)
    monkeypatch.setattr(daemon_socket, "command", lambda words: host.words.append(words) or finished)
    host.run(control, 12)
    assert host.words[0] == ["resume"]
    assert len(host.words) == 1  # it failed without an error; the next try comes later
    host.run(control, 60)
    assert host.words[:2] == [["resume"], ["resume"]]


def test_no_recovery_begins_while_a_switch_runs(control, host, monkeypatch):
    left(host)
    monkeypatch.setattr(daemon_socket, "command", host.words.append)
    with serving.switching(str):
        host.run(control, 30)
    assert host.words == []


def test_a_recovery_that_failed_is_reported_and_does_not_count_as_a_failed_start(control, host, monkeypatch):
    left(host)
    told = json.dumps({"ok": False, "errors": [{"message": "It failed."}]})
    failed = SimpleNamespace(poll=lambda: 1, communicate=lambda: (told, ""), returncode=1)
    monkeypatch.setattr(daemon_socket, "command", lambda words: host.words.append(words) or failed)
    monkeypatch.setattr(haproxy, "read", lambda names: {})
    said = []
    control.report = said.append
    host.run(control, 12)
    assert said[-1] == "It failed."
    assert control.scheduler.retries(host.now) == {}


def test_routes_that_a_killed_command_left_are_corrected(control, host, monkeypatch):
    host.run(control, 3)
    haproxy.routes_path().write_text("dev wait:60\npo wait:60\n")
    host.run(control, 3)
    assert haproxy.routes_path().read_text().startswith("dev on:60\n")
