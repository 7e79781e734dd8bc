"""Differences between a running engine and the plan; this process represents the engine."""

import os
import sys
from pathlib import Path

import pytest

from roundhouse.agents import drift
from roundhouse.host import systemd


@pytest.fixture
def agent(tmp_path):
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
