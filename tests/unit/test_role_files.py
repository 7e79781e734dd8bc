"""The files of the roles agents and gateway, and the conditions of their steps."""

import json
from pathlib import Path

import pytest

from roundhouse.gateway import config
from roundhouse.paths import CHECKOUT
from roundhouse.plan import build, compose, roles
from roundhouse.plan.decide import Host
from roundhouse.provision import agent_files, gateway_files, host_state, inspection, model_state

ROLES = CHECKOUT / "roles"
COMMON = {"max_model_len": 4096, "gpu_memory_utilization": 0.9, "temperature": 0.3, "top_p": 0.95}
GATEWAY = {"listen": "127.0.0.1", "key_required": None, "tls": None, "certificate": "", "connections": 100}
GATEWAY |= {"requests_per_minute": 1, "requests_at_once": 1, "waiting": 1, "wait_seconds": 600, "on_demand": False}
GATEWAY |= {"source_connections": 64, "metrics_connections": 64, "memory_mib": 4096, "held_mib": 256, "header_kib": 32}
GATEWAY |= {"header_seconds": 10, "body_seconds": 30, "hosts": []}
GATEWAY |= {"cors_origins": [], "in_use_seconds": 5}
GATEWAY |= {"min_active_seconds": 60, "max_wait_seconds": 120, "idle_seconds": 0, "default_agents": [], "pinned": []}
CONTROL = list(gateway_files.CONTROL)


def plan(runtime="native"):
    roster = [
        {"name": name, "port": port, "models": [{"model": "/m"}], **COMMON}
        for name, port in (("dev", 8001), ("po", 8002))
    ]
    settings = build.Settings("cpu", "/opt/engine", "/models", 60, 8080, runtime, "image@sha256:1")
    return build.build(roster, settings, Host(means=compose.Means()))


@pytest.mark.parametrize(("runtime", "each"), [("native", 4), ("compose", 5)])
def test_each_agents_files_are_staged_and_the_plan_is_last(runtime, each):
    made = plan(runtime)
    tree = agent_files.build(made, "/staged")
    *files, last = tree["files"]
    assert last == "/staged/plan.json"
    assert json.loads(tree["files"][last]["content"]) == made
    for agent in made["agents"]:
        own = [path for path in files if path.startswith(f"/staged/agents/{agent['name']}/")]
        assert len(own) == each
        assert {str(Path(path).parent) for path in own} <= set(tree["folders"])
        assert f"/staged/agents/{agent['name']}/etc/systemd/system/{agent['unit']}" in own
        root = f"/staged/agents/{agent['name']}"
        role = [root + path for path in roles.paths(agent)]
        printed = [tree["files"][path] for path in own if path not in role]
        assert len(printed) == each - len(role)
        assert all(entry["vars"]["__agents_agent"] == agent for entry in printed)
        assert all((ROLES / "agents/templates" / entry["template"]).is_file() for entry in printed)


def gateway(**settings):
    return gateway_files.build(config.build(plan(), config.Settings(**GATEWAY | settings)))


def test_haproxys_configuration_is_validated_after_the_files_that_it_reads():
    tree = gateway()
    names = [Path(path).name for path in tree["files"]]
    assert names == [
        "engine.lua",
        "hold.lua",
        "request.lua",
        "models.json",
        "haproxy.cfg.in",
        "roundhouse-gateway.service",
    ]
    for entry in tree["files"].values():
        if isinstance(entry, dict):
            kind, name = next((kind, entry[kind]) for kind in ("template", "source") if kind in entry)
            assert (ROLES / "gateway" / {"template": "templates", "source": "files"}[kind] / name).is_file()
    assert tree["files"]["/etc/roundhouse/gateway/haproxy.cfg.in"]["validate"] == [
        "/usr/local/bin/roundhouse routes --template %s"
    ]


def test_the_users_certificate_is_copied_for_haproxys_group_without_a_log():
    tree = gateway(listen="0.0.0.0", certificate="/root/own.pem")  # noqa: S104 - beyond loopback
    entry = tree["files"]["/etc/roundhouse/gateway/own.pem"]
    assert entry == {
        "copy_of": "/root/own.pem",
        "secret": True,
        "mode": "0640",
        "owner": "root",
        "group": "roundhouse-gateway",
    }
    assert list(tree["files"]).index("/etc/roundhouse/gateway/own.pem") < list(tree["files"]).index(
        "/etc/roundhouse/gateway/haproxy.cfg.in"
    )


def test_the_control_service_exists_only_on_demand():
    tree = gateway(on_demand=True)
    assert json.loads(tree["files"][gateway_files.RULES])["min_active_seconds"] == 60
    assert [path for path in tree["files"] if "control" in path] == [f"/etc/systemd/system/{name}" for name in CONTROL]


ON = ("active", True)


@pytest.mark.parametrize(
    ("paths", "stale", "states", "state", "units"),
    [
        ([], [], [ON, ON], "started", []),
        ([], [], [ON, ("failed", True)], "started", CONTROL[1:]),
        ([], [], [("active", False), ON], "started", CONTROL[:1]),
        (["/etc/systemd/system/roundhouse-control.service"], [], [ON, ON], "restarted", CONTROL),
        ([], ["roundhouse-control.socket"], [ON, ON], "restarted", CONTROL),  # after a killed run
        (["/etc/roundhouse/demand.json"], [], [ON, ON], "started", []),  # the service reloads this file
    ],
)
def test_the_control_service_is_started_if_something_changed(paths, stale, states, state, units):
    services = {name: {"state": word, "enabled": on} for name, (word, on) in zip(CONTROL, states, strict=True)}
    told = gateway_files.control_units({"paths": paths, "stale": stale, "services": services})
    assert told == {"units": units, "state": state}


def test_the_gateways_installed_parts_are_found(tmp_path):
    units, folder = tmp_path / "units", tmp_path / "gateway"
    units.mkdir()
    folder.mkdir()
    assert set(host_state.gateway(units, folder).values()) == {False}
    (units / "roundhouse-gateway.service").touch()
    (folder / "keys.json").touch()
    assert host_state.gateway(units, folder) == {"unit": True, "control": False, "keys": False, "certificate": False}
    (folder / "keys.map").touch()
    (folder / "tls.pem").touch()
    assert host_state.gateway(units, folder) == {"unit": True, "control": False, "keys": True, "certificate": True}


def test_incomplete_models_are_distinguished(tmp_path):
    (tmp_path / "whole").mkdir()
    required = {"model": "lab/po", "revision": "main", "asked": "main", "files": None, "serves": True}
    found = model_state.inspect(str(tmp_path), [str(tmp_path / "none")], [required], [])
    assert (found["to_pull"], found["to_quantize"]) == ([required], [])
    assert len(found["problems"]) == 1


def test_a_plan_is_deployed_only_if_it_is_identical():
    made = plan()
    deployed = json.loads(json.dumps(made))
    assert inspection.is_deployed(made, {"deployed": deployed})
    deployed["agents"][0]["port"] += 1
    assert not inspection.is_deployed(made, {"deployed": deployed})
    assert not inspection.is_deployed(made, {"deployed": None})
