"""The playbooks: an upgrade, a changed setting, a broken engine, and the rollback."""

import re

import pytest
from conftest import said


def test_a_rollback_without_a_previous_plan_is_refused(machine, play):
    assert machine.plans() == [machine.named(machine.first)]
    result = play("rollback")
    assert result.returncode == 2
    assert "This host has no earlier plan." in said(result)


def test_an_upgrade_is_previewed_and_succeeds(machine, play):
    engine = machine.engine("0.33.0")
    result = play("upgrade", **machine.asking_for(engine))
    assert result.returncode == 0, result.stdout
    assert f"engine: {machine.named(machine.first)} -> {machine.named(engine)}" in said(result)
    assert re.search(r"architect: unavailable for about \d+ s \(at most \d+ s, including a rollback\)", said(result))
    assert machine.runs() == (["architect"], engine)
    assert machine.run("status")["agents"][0]["version"] == "0.33.0"
    assert machine.plans() == [machine.named(machine.first), machine.named(engine)]


@pytest.mark.on("folders")  # test_2_faults.py tests an image without the playbook
def test_a_broken_engine_is_rolled_back_and_the_play_reports_why(machine, play):
    (_, serving), before, plans = machine.runs(), machine.files(), machine.plans()
    result = play("upgrade", **machine.asking_for(machine.engine("0.34.0", "--rubbish")))
    assert result.returncode == 2
    assert (
        "architect returned unreadable text, '!!!!!!!!!!!!!!!!'; its weights or kernels are probably corrupt."
        in said(result)
    )
    assert re.search(r"The plan [0-9a-f]{8} is in place again. architect is active on port 8000.", said(result))
    assert machine.files() == before
    assert machine.runs() == (["architect"], serving)
    assert machine.plans() == plans


def test_the_rollback_restores_the_previous_plan(machine, play):
    _, serving = machine.runs()
    result = play("rollback")
    assert result.returncode == 0, result.stdout
    assert f"engine: {machine.named(serving)} -> {machine.named(machine.first)}" in said(result)
    assert re.search(r"The plan [0-9a-f]{8} is deployed\. Active agents: architect\.", said(result))
    assert machine.runs() == (["architect"], machine.first)
    assert machine.plans() == [machine.named(serving), machine.named(machine.first)]


def test_a_plan_with_a_missing_engine_is_refused_before_any_change(machine):
    lost = machine.lose(machine.engine("0.33.0"))
    started = machine.host.check_output("systemctl show --property InvocationID roundhouse-architect")
    assert lost in machine.refused("rollback")
    assert machine.host.check_output("systemctl show --property InvocationID roundhouse-architect") == started
