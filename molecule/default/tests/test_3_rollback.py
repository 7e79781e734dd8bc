"""A failed switch or upgrade restores the previous agent and reports why; an upgrade can be rolled back."""

import re

from conftest import FIRST


def one_line(result):
    """Return a play's output as one line, because Ansible folds long sentences."""
    return " ".join(result.stdout.split())


def test_a_switch_to_an_engine_that_fails_restores_the_previous_agent(switch, serving, fault):
    assert switch("architect")["rc"] == 0
    fault("dev", "--out-of-memory")

    result = switch("dev")

    (error,) = result["errors"]
    assert (result["rc"], result["ok"]) == (1, False)
    assert "dev did not start" in error["message"]
    assert "architect is active on port 8000" in error["message"]
    assert serving() == ["architect"]


def test_an_upgrade_with_unreadable_answers_is_rolled_back(host, play, serving, switch, engine_of):
    broken = engine_of("0.34.0")
    host.check_output("mkdir -p /var/lib/lab/faults && echo --rubbish > %s",
                      f"/var/lib/lab/faults/{broken.rpartition('/')[2]}")  # fmt: skip
    plans = switch("plans")["plans"]

    result = play({"engine_path": broken}, "playbooks/upgrade.yml")

    assert result.returncode != 0
    assert re.search(r"The plan [0-9a-f]{8} is in place again. architect is active on port 8000.", one_line(result))
    assert switch("plans")["plans"] == plans
    assert serving() == ["architect"]


def test_an_upgrade_and_its_rollback_succeed(host, play, serving, switch, engine_of):
    newer = engine_of("0.33.0")

    upgraded = play({"engine_path": newer}, "playbooks/upgrade.yml")

    assert upgraded.returncode == 0, upgraded.stdout
    assert serving() == ["architect"]
    assert switch("status")["agents"][0]["version"] == "0.33.0"

    back = play({}, "playbooks/rollback.yml")

    assert back.returncode == 0, back.stdout
    assert re.search(r"The plan [0-9a-f]{8} is deployed\. Active agents: architect\.", one_line(back))
    assert host.run(f'grep -q \'"engine_path": "{FIRST}"\' /etc/roundhouse/plan.json').rc == 0
    assert serving() == ["architect"]
