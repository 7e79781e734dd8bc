"""A changed roster is deployed: what has to be restarted is, what need not be is not, what left is gone."""

import time

import docker
import pytest

# Of modules on the host: two of the inspection, one of the files of each role that has some, and the deployment.
EXECUTIONS = 5


@pytest.fixture
def deploy(play):
    """Deploy a roster and return what Ansible printed."""

    def run(agents):
        result = play({"agents": agents}, "playbooks/agents.yml")
        assert result.returncode == 0, result.stdout
        return result.stdout

    return run


def started(host, agent):
    return host.check_output(f"systemctl show --property ExecMainStartTimestampMonotonic --value roundhouse-{agent}")


def test_another_agent_leaves_the_serving_one_alone(host, serving, roster, deploy):
    before = started(host, "dev")
    deploy([*roster, roster[2] | {"name": "qa", "port": 8003}])
    assert serving() == ["dev"]
    assert started(host, "dev") == before
    assert "roundhouse-qa.service" in host.check_output("systemctl show --property Conflicts --value roundhouse-dev")


def test_an_agent_that_left_the_roster_is_removed_and_a_second_run_changes_nothing(host, serving, roster, deploy):
    before = started(host, "dev")
    deploy(roster)
    assert serving() == ["dev"]
    assert started(host, "dev") == before
    assert not host.file("/etc/systemd/system/roundhouse-qa.service").exists
    assert not host.file("/etc/roundhouse/agents/qa.yaml").exists
    assert "changed=0" in deploy(roster)


def test_site_yml_with_nothing_to_change_executes_only_so_often_on_the_host(name, roster, play):
    begun = time.time()
    result = play({"agents": roster})
    assert result.returncode == 0, result.stdout
    assert "changed=0" in result.stdout
    asked = {"container": name, "event": "exec_start"}
    assert len(list(docker.from_env().events(since=begun, until=time.time(), filters=asked))) == EXECUTIONS
