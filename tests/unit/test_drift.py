"""Differences between a running engine and the plan; this process represents the engine."""

import os
import sys
import time
import types
from pathlib import Path

import pytest

from roundhouse.agents import drift, start
from roundhouse.errors import RoundhouseError
from roundhouse.host import systemd
from roundhouse.state import serving, started_config


@pytest.fixture
def agent(tmp_path, monkeypatch):
    monkeypatch.setattr(serving, "FOLDER", tmp_path / "state")
    config = tmp_path / "dev.yaml"
    config.write_text("model: /m\n")
    os.utime(config, (0, 0))
    return {"name": "dev", "max_model_len": 4096, "model_path": "/m", "config_path": str(config), "environment": {}}


@pytest.fixture
def told(agent):
    unit = systemd.Unit("ready", False, 0, None, "success", None, os.getpid(), 0, False, "x")
    served = [{"id": "dev", "max_model_len": 4096, "root": "/m"}]
    plan = {"engine_path": sys.argv[0]}
    return lambda: (drift.drift(plan, agent, unit, served, "0.32.0"), drift.is_outdated(plan, agent, unit))


def test_an_agent_with_an_earlier_configuration_is_a_drift(agent, told):
    assert told() == ([], False)
    os.utime(agent["config_path"])
    said, outdated = told()
    assert outdated
    assert said == ["it runs with an earlier deployment: `roundhouse resume` restarts it"]


def test_a_configuration_dated_in_the_future_restarts_no_agent_that_started_with_it(agent, told):
    started_config.record(agent, "x")  # the invocation of `told`
    os.utime(agent["config_path"], (time.time() + 3600,) * 2)
    assert told() == ([], False)
    Path(agent["config_path"]).write_text("model: /other\n")
    os.utime(agent["config_path"], (0, 0))
    assert told() == (["it runs with an earlier deployment: `roundhouse resume` restarts it"], True)


def test_the_record_of_an_earlier_start_does_not_count(agent, told):
    Path(agent["config_path"]).write_text("model: /other\n")
    started_config.record(agent, "earlier")
    assert started_config.recorded(agent, "x") is None
    assert told()[1]


def test_a_containers_compose_file_counts(agent, tmp_path):
    (tmp_path / "compose.yaml").write_text("services: {}\n")
    agent["compose_path"] = str(tmp_path / "compose.yaml")
    before = started_config.digest(agent)
    (tmp_path / "compose.yaml").write_text("services: {engine: {}}\n")
    assert started_config.digest(agent) != before


def test_the_start_records_its_configuration(agent, monkeypatch):
    monkeypatch.setenv("INVOCATION_ID", "x")
    monkeypatch.setattr(start, "Engine", lambda host, port: types.SimpleNamespace(healthy=lambda: False))
    agent |= {"host": "127.0.0.1", "engine_port": 1}
    with pytest.raises(RoundhouseError) as error:
        start.wait_until_healthy({}, agent, 999999999, print)  # the engine has ended
    assert error.value.code == "engine_ended_before_ready"
    assert started_config.recorded(agent, "x") == started_config.digest(agent)


def test_a_missing_configuration_is_reported_and_does_not_cause_a_restart(agent, told):
    Path(agent["config_path"]).unlink()
    said, outdated = told()
    assert not outdated
    path = agent["config_path"]
    assert said == [
        f"its configuration {path} is missing, so it cannot start again: `ansible-playbook site.yml` writes it"
    ]


FOLDER = "/opt/roundhouse/engine/0.32.0-cuda-1f0c2a9b"


@pytest.mark.parametrize(
    ("image", "version"),
    [
        (None, "0.32.0"),
        ("roundhouse-engine:build-0123456789ab", "0.32.0"),
        (f"vllm/vllm-openai:v0.33.0@sha256:{'1' * 64}", "0.33.0"),
        ("localhost:5000/vllm:v0.33.1-lab", "0.33.1"),
        ("localhost:5000/vllm:latest", None),
        (f"localhost:5000/vllm@sha256:{'1' * 64}", None),
        ("roundhouse-engine:archive-0123456789ab", None),
    ],
)
def test_the_release_is_that_of_the_running_code(image, version):
    assert drift._planned_version({"engine_path": FOLDER, "image": image}) == version
