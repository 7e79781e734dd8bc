"""What the rules of a card may be, and what the gateway is told of agents that may be asked for."""

import json

import pytest
from real_gateway import DEFAULTS

from roundhouse.errors import UsageError
from roundhouse.gateway import config, haproxy, on_demand
from roundhouse.plan import build as plan_build
from roundhouse.state import serving, switch_journal

COMMON = {"max_model_len": 4096, "gpu_memory_utilization": 0.9, "temperature": 0.3, "top_p": 0.95}
RULES = {"on_demand": True, "min_active_seconds": 60, "max_wait_seconds": 120, "wait_seconds": 600}


@pytest.fixture
def plan(tmp_path, monkeypatch):
    monkeypatch.setattr(serving, "FOLDER", tmp_path)
    monkeypatch.setattr(serving, "LOCK", tmp_path / "switch.lock")
    roster = [
        {"name": name, "port": port, "models": [{"model": "/m"}], **COMMON}
        for name, port in (("dev", 8001), ("po", 8002))
    ]
    return plan_build.build(roster, plan_build.Settings("cpu", "/e", "/m", 1, 8080))


def build(plan, **rules):
    return config.build(plan, config.Settings(**DEFAULTS | RULES | rules))["demand"]


def test_the_rules_reach_the_service(plan, tmp_path, monkeypatch):
    assert build(plan, on_demand=False, min_active_seconds=-1) is None
    monkeypatch.setattr(on_demand, "PATH", tmp_path / "demand.json")
    with pytest.raises(UsageError, match="Deploy with gateway_on_demand: true"):
        on_demand.load()
    on_demand.PATH.write_text(build(plan, pinned=["po"]))
    assert on_demand.load() == (60, 120, 0, (), ("po",))


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        ({"min_active_seconds": 0}, "gateway_min_active_seconds is 0: write seconds, at least 1."),
        ({"idle_seconds": -1}, "gateway_idle_seconds is -1: write seconds, at least 0."),
        (
            {"max_wait_seconds": 30},
            "gateway_max_wait_seconds is 30, and gateway_min_active_seconds is 60: write no less than that.",
        ),
        (
            {"max_wait_seconds": 600},
            "gateway_max_wait_seconds is 600, and gateway_wait_seconds is 600, the longest that a request is kept: "
            "write less.",
        ),
        ({"pinned": ["qa"]}, "gateway_pinned names 'qa': write agents of the roster, dev, po."),
        ({"default_agents": ["qa"]}, "gateway_default_agents names 'qa': write agents of the roster, dev, po."),
    ],
)
def test_rules_that_cannot_be_meant_are_refused(plan, rules, sentence):
    with pytest.raises(UsageError) as refused:
        build(plan, **rules)
    assert refused.value.message == sentence


def test_the_routes_say_which_agents_start_on_demand(plan):
    serving.record("dev", ["po"])
    assert haproxy.routes(plan) == {"dev": "on", "po": "off"}
    on_demand.allow(["dev", "po"])
    assert haproxy.routes(plan) == {"dev": "on", "po": "ask"}
    serving.note_stopped(["dev"])
    haproxy.publish_routes(plan, print)
    assert haproxy.routes_path().read_text() == "dev ask:60\npo ask:60\n"
    entry = switch_journal.Journal("po", ["dev"])
    entry.begin()
    assert haproxy.routes(plan) == {"dev": "wait", "po": "wait"}
    entry.end()
    on_demand.withdraw()
    on_demand.withdraw()
    assert haproxy.routes(plan) == {"dev": "off", "po": "off"}
    serving.record("dev", ["po"])
    assert haproxy.routes(plan) == {"dev": "on", "po": "off"}


def test_an_agent_stopped_before_the_hosts_last_boot_is_not_stopped_any_more(plan, monkeypatch, tmp_path):
    serving.record("dev", ["po"])
    serving.note_stopped(["dev"])
    assert haproxy.routes(plan) == {"dev": "off", "po": "off"}
    (tmp_path / "boot").write_text("another")
    monkeypatch.setattr(serving, "BOOT_ID", tmp_path / "boot")
    assert haproxy.routes(plan) == {"dev": "on", "po": "off"}


def test_the_agents_of_a_shared_card_are_known(plan):
    assert on_demand.conflicts(plan) == {"dev": ["po"], "po": ["dev"]}
    assert json.loads(build(plan))["max_wait_seconds"] == 120
