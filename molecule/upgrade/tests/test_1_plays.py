"""The plays: another engine, a setting, an engine that is of no use, and the way back."""

import re

from conftest import FIRST, said


def test_there_is_nothing_to_go_back_to_yet(machine, play):
    assert machine.plans() == ["lab-engine"]
    result = play("rollback")
    assert result.returncode == 2
    assert "no plan served here before the one in place: there is nothing to go back to." in said(result)


def test_an_upgrade_is_told_beforehand_and_serves(machine, play, request):
    engine = machine.engine("0.33.0")
    result = play("upgrade", engine_path=engine)
    assert result.returncode == 0, result.stdout
    assert "engine: lab-engine -> 0.33.0-lab" in said(result)
    assert re.search(r"architect: away for about \d+ s, \d+ s at the most, also when the plan before", said(result))
    assert machine.runs() == (["architect"], engine)
    assert machine.run("status")["agents"][0]["version"] == "0.33.0"
    assert machine.plans() == ["lab-engine", "0.33.0-lab"]


def test_an_engine_that_answers_rubbish_is_taken_back_and_the_play_says_why(machine, play):
    before = machine.files()
    result = play("agents", engine_path=machine.engine("0.34.0", "--rubbish"))
    assert result.returncode == 2
    assert "architect answered '!!!!!!!!!!!!!!!!', which is no text: its weights or kernels are broken." in said(result)
    assert re.search(r"The plan [0-9a-f]{8} is in place again. architect serves on port 8000.", said(result))
    assert machine.files() == before
    assert machine.runs() == (["architect"], "/opt/lab-engines/0.33.0-lab")
    assert machine.plans() == ["lab-engine", "0.33.0-lab"]


def test_the_rollback_goes_back_to_the_plan_that_served_before(machine, play):
    result = play("rollback")
    assert result.returncode == 0, result.stdout
    assert "engine: 0.33.0-lab -> lab-engine" in said(result)
    assert re.search(r"The plan [0-9a-f]{8} is in place; architect serves.", said(result))
    assert machine.runs() == (["architect"], FIRST)
    assert machine.plans() == ["0.33.0-lab", "lab-engine"]


def test_a_plan_whose_engine_is_gone_is_refused_before_anything_is_touched(machine):
    machine.host.check_output("mv /opt/lab-engines/0.33.0-lab /opt/lab-engines/away")
    started = machine.host.check_output("systemctl show --property InvocationID roundhouse-architect")
    assert "its engine /opt/lab-engines/0.33.0-lab is not there any more" in machine.refused("rollback")
    assert machine.host.check_output("systemctl show --property InvocationID roundhouse-architect") == started
    machine.host.check_output("mv /opt/lab-engines/away /opt/lab-engines/0.33.0-lab")
