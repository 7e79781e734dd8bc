"""Validate the settings of agents on demand, and compute the routes that follow from the control service's offers."""

import json
import time

import pytest
import yaml
from real_gateway import DEFAULTS, ROLE

from roundhouse.errors import UsageError
from roundhouse.gateway import announced, config, haproxy, on_demand
from roundhouse.plan import build as plan_build
from roundhouse.state import serving, switch_journal

COMMON = {"max_model_len": 4096, "gpu_memory_utilization": 0.9, "temperature": 0.3, "top_p": 0.95}
RULES = {"on_demand": True, "in_use_seconds": 5, "min_active_seconds": 60, "max_wait_seconds": 120, "wait_seconds": 600}


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
    assert on_demand.load() == (5, 60, 120, 0, (), ("po",))


def test_requests_start_agents_by_default(plan):
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    values = {name: defaults[f"gateway_{name}"] for name in config.Settings._fields}
    assert values["on_demand"] is True
    rules = on_demand.settings(json.loads(config.build(plan, config.Settings(**values))["demand"]))
    assert rules == (5, 60, 120, 0, (), ())


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        ({"min_active_seconds": 0}, "gateway_min_active_seconds is 0. Use a number of seconds, at least 1."),
        ({"idle_seconds": -1}, "gateway_idle_seconds is -1. Use a number of seconds, at least 0."),
        ({"in_use_seconds": -1}, "gateway_in_use_seconds is -1. Use a number of seconds, at least 0."),
        (
            {"max_wait_seconds": 30},
            "gateway_max_wait_seconds is 30, and gateway_min_active_seconds is 60. Use at least that value.",
        ),
        (
            {"max_wait_seconds": 600},
            "gateway_max_wait_seconds is 600, and gateway_wait_seconds, the longest hold, is 600. "
            "Use less than that value.",
        ),
        ({"pinned": ["qa"]}, "gateway_pinned contains 'qa'. Use agents of the roster: dev, po."),
        ({"default_agents": ["qa"]}, "gateway_default_agents contains 'qa'. Use agents of the roster: dev, po."),
    ],
)
def test_invalid_rules_are_refused(plan, rules, sentence):
    with pytest.raises(UsageError) as refused:
        build(plan, **rules)
    assert refused.value.message == sentence


def test_a_hold_below_the_longest_wait_for_a_turn_is_refused(plan):
    plan["agents"][0]["conflicts"] = ["po", "qa", "ops"]
    with pytest.raises(UsageError) as refused:
        build(plan, wait_seconds=200)
    assert refused.value.message == (
        "gateway_wait_seconds, the longest hold, is 200. A request may wait 240 s and the time of the switches for its "
        "turn among 4 agents of one card. Use more than 240, or a smaller gateway_min_active_seconds."
    )
    build(plan, wait_seconds=250)


def words(plan):
    return {name: route.partition(":")[0] for name, route in announced.routes(plan).items()}


def offer(asks, retries=None, pinned_out=()):
    on_demand.publish(on_demand.Offers(asks, retries or {}, list(pinned_out)))


def test_the_routes_state_which_agents_start_on_demand(plan):
    serving.record("dev", ["po"])
    assert words(plan) == {"dev": "on", "po": "off"}
    offer(["dev", "po"])
    assert words(plan) == {"dev": "on", "po": "ask"}
    serving.note_stopped(["dev"])
    haproxy.publish_routes(plan, print)
    assert haproxy.routes_path().read_text() == "dev ask:60\npo ask:60\n"
    entry = switch_journal.Journal("po", ["dev"])
    entry.begin()
    assert words(plan) == {"dev": "wait", "po": "wait"}
    entry.end()
    on_demand.withdraw()
    on_demand.withdraw()
    assert words(plan) == {"dev": "off", "po": "off"}
    serving.record("dev", ["po"])
    assert words(plan) == {"dev": "on", "po": "off"}


def test_a_failed_agent_is_offered_again_at_its_next_try(plan):
    serving.record("dev", ["po"])
    later = int(time.time()) + 50
    offer(["dev"], {"po": later})
    assert announced.routes(plan)["po"] == f"failed:{later}"
    offer(["dev"], {"po": int(time.time()) - 1})
    assert words(plan)["po"] == "ask"
    entry = switch_journal.Journal("po", ["dev"])
    entry.begin()  # by hand
    offer(["dev"], {"po": later})
    assert words(plan) == {"dev": "wait", "po": "wait"}
    entry.end()


def test_an_agent_blocked_by_a_pinned_one_has_its_own_route(plan):
    serving.record("dev", ["po"])
    offer(["dev"], pinned_out=["po"])
    assert words(plan) == {"dev": "on", "po": "pinned"}


def test_offers_of_an_earlier_version_are_read(plan):
    serving.record("dev", ["po"])
    on_demand.offers_path().write_text('{"asks": ["po"]}')
    assert words(plan) == {"dev": "on", "po": "ask"}


def test_an_agent_stopped_before_the_last_boot_counts_as_active(plan, monkeypatch, tmp_path):
    serving.record("dev", ["po"])
    serving.note_stopped(["dev"])
    assert words(plan) == {"dev": "off", "po": "off"}
    (tmp_path / "boot").write_text("another")
    monkeypatch.setattr(serving, "BOOT_ID", tmp_path / "boot")
    assert words(plan) == {"dev": "on", "po": "off"}


def test_the_agents_of_a_shared_card_are_known(plan):
    assert on_demand.conflicts(plan) == {"dev": ["po"], "po": ["dev"]}
    assert json.loads(build(plan))["max_wait_seconds"] == 120
