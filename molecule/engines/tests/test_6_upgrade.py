"""An upgrade restarts the active agent with the changed setting, and the rollback restores the setting."""

import copy
import re

import pytest
import yaml


def said(result):
    """Return a play's output as one line."""
    return " ".join(result.stdout.split())


def started(host, agent):
    return host.check_output(f"systemctl show --property ExecMainStartTimestampMonotonic --value roundhouse-{agent}")


@pytest.fixture
def sampling(host):
    """Return a function that returns dev's deployed sampling."""
    return lambda: yaml.safe_load(host.file("/etc/roundhouse/agents/dev.yaml").content_string)[
        "override-generation-config"
    ]


def test_a_changed_setting_restarts_the_active_agent(host, serving, roster, play, switch, sampling):
    plans, before, changed = len(switch("plans")["plans"]), started(host, "dev"), copy.deepcopy(roster)
    changed[1]["temperature"] = 0.9
    result = play({"agents": changed}, "playbooks/upgrade.yml")
    assert result.returncode == 0, result.stdout
    assert "dev: override-generation-config: " in said(result)
    assert serving() == ["dev"]
    assert started(host, "dev") != before
    assert sampling()["temperature"] == 0.9
    assert len(switch("plans")["plans"]) == plans + 1


def test_the_rollback_restores_the_setting(host, serving, roster, play, sampling):
    before = started(host, "dev")
    result = play({}, "playbooks/rollback.yml")
    assert result.returncode == 0, result.stdout
    assert re.search(r"The plan [0-9a-f]{8} is deployed\. Active agents: dev\.", said(result))
    assert serving() == ["dev"]
    assert started(host, "dev") != before
    assert sampling()["temperature"] == roster[1]["temperature"]
