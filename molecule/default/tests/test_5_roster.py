"""A changed roster is deployed: what has to be restarted is, what need not be is not, what left is gone."""

import copy
import re

import pytest
import yaml
from conftest import ROOT


@pytest.fixture(scope="module")
def roster(plan):
    """Return the lab's roster with its models as they were deployed."""
    agents = yaml.safe_load((ROOT / "inventory/lab/group_vars/all/agents.yml").read_text())["agents"]
    for agent, planned in zip(agents, plan["agents"], strict=True):
        agent["models"] = [{"model": planned["model"]}]
    return agents


@pytest.fixture
def deploy(play):
    """Deploy a roster and return what Ansible printed."""

    def run(agents):
        result = play({"agents": agents}, "playbooks/agents.yml")
        assert result.returncode == 0, result.stdout
        return result.stdout

    return run


def said(result):
    """Return what a play printed, in one line."""
    return " ".join(result.stdout.split())


def started(host, agent):
    return host.check_output(f"systemctl show --property ExecMainStartTimestampMonotonic --value roundhouse-{agent}")


@pytest.fixture
def sampling(host):
    """Return the sampling that dev is deployed with."""
    return lambda: yaml.safe_load(host.file("/etc/roundhouse/agents/dev.yaml").content_string)[
        "override-generation-config"
    ]


def test_a_changed_setting_restarts_the_serving_agent(host, serving, roster, play, switch, sampling):
    plans, before, changed = len(switch("plans")["plans"]), started(host, "dev"), copy.deepcopy(roster)
    changed[1]["temperature"] = 0.9
    result = play({"agents": changed}, "playbooks/upgrade.yml")
    assert result.returncode == 0, result.stdout
    assert "dev: override-generation-config: " in said(result)
    assert serving() == ["dev"]
    assert started(host, "dev") != before
    assert sampling()["temperature"] == 0.9
    assert len(switch("plans")["plans"]) == plans + 1


def test_the_rollback_brings_the_setting_back(host, serving, roster, play, sampling):
    before = started(host, "dev")
    result = play({}, "playbooks/rollback.yml")
    assert result.returncode == 0, result.stdout
    assert re.search(r"The plan [0-9a-f]{8} is in place; dev serves\.", said(result))
    assert serving() == ["dev"]
    assert started(host, "dev") != before
    assert sampling()["temperature"] == roster[1]["temperature"]


def test_another_agent_leaves_the_serving_one_alone(host, serving, roster, deploy):
    before = started(host, "dev")
    deploy([*roster, roster[2] | {"name": "qa", "port": 8003}])
    assert serving() == ["dev"]
    assert started(host, "dev") == before
    assert "roundhouse-qa.service" in host.check_output("systemctl show --property Conflicts --value roundhouse-dev")


def test_an_agent_that_left_the_roster_is_gone_and_a_second_run_changes_nothing(host, serving, roster, deploy):
    before = started(host, "dev")
    deploy(roster)
    assert serving() == ["dev"]
    assert started(host, "dev") == before
    assert not host.file("/etc/systemd/system/roundhouse-qa.service").exists
    assert not host.file("/etc/roundhouse/agents/qa.yaml").exists
    assert "changed=0" in deploy(roster)
