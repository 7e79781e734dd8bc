"""Damaged files of the state and of the kept plans cost no agent, no switch and no deployment."""

import json

import pytest
from test_deploy import engine_in_place, put, stage  # noqa: F401 - fixture
from test_deploy import host as deployed_host  # noqa: F401 - fixture
from test_switch import go, host, planned  # noqa: F401 - fixtures

from roundhouse.agents import canary
from roundhouse.errors import RoundhouseError
from roundhouse.plan import deployed, plan_sets
from roundhouse.state import history, serving, start_phases, switch_metrics
from roundhouse.switch import deploy_journal, resume


def quiet(text):
    """Report nothing."""


DAMAGE = {
    "an empty plan": lambda folder: (folder / "plan.json").write_text(""),
    "another schema": lambda folder: (folder / "plan.json").write_text('{"schema": 99}'),
    "no unit": lambda folder: next(folder.rglob("roundhouse-architect.service")).unlink(),
    "bytes that are not UTF-8": lambda folder: next(folder.rglob("architect.yaml")).write_bytes(b"\xff"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_kept_plan_does_not_prevent_a_deployment(deployed_host, stage, damage):  # noqa: F811
    put(stage())
    DAMAGE[damage](plan_sets.folder(plan_sets.load()[-1].name))
    assert plan_sets.rows()[-1]["state"] == "in place, damaged"
    again = put(stage())
    assert (again["moved"], again["serving"]) == (False, ["architect"])
    done = put(stage("/opt/2"))
    assert (done["changed"], engine_in_place()) == (["architect"], "/opt/2")
    assert [row["state"] for row in plan_sets.rows()] == ["served", "in place"]  # the set was written again


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_rollback_leaves_a_damaged_plan_out(deployed_host, stage, damage):  # noqa: F811
    for number in (1, 2, 3):
        put(stage(f"/opt/{number}"))
    first, second, _ = (entry.name for entry in plan_sets.load())
    DAMAGE[damage](plan_sets.folder(second))
    assert plan_sets.before().name == first
    with pytest.raises(RoundhouseError):
        plan_sets.before(second)


def test_a_damaged_plan_in_place_does_not_prevent_a_deployment(deployed_host, stage):  # noqa: F811
    put(stage())
    for folder in plan_sets.FOLDER.iterdir():
        if folder.is_dir():
            (folder / "plan.json").write_text("")
    deployed.PATH.write_text("")
    assert put(stage("/opt/2"))["serving"] == ["architect"]
    assert engine_in_place() == "/opt/2"


@pytest.mark.parametrize("lost", ["before", "after"])
def test_a_boot_after_a_killed_deployment_with_a_damaged_set_starts_an_agent(deployed_host, stage, lost):  # noqa: F811
    put(stage())
    old, new = plan_sets.on_host(), stage("/opt/2")
    new.keep(plan_sets.folder(new.name))
    deploy_journal.begin(old, new, ["architect"])
    new.put(old)
    deployed_host.up.clear()
    DAMAGE["an empty plan"](plan_sets.folder((old if lost == "before" else new).name))
    assert resume.start_only(quiet) == ["architect"]
    assert engine_in_place() == ("/opt/2" if lost == "before" else "/opt/1")
    assert deploy_journal.killed() is None
    assert put(stage("/opt/3"))["serving"] == ["architect"]


def test_a_boot_with_an_unreadable_list_of_plans_starts_an_agent(deployed_host, stage):  # noqa: F811
    put(stage())
    old = plan_sets.on_host()
    deploy_journal.begin(old, old, ["architect"])
    (plan_sets.FOLDER / "plans.json").write_text("{")
    deployed_host.up.clear()
    said = []
    assert resume.start_only(said.append) == ["architect"]
    assert "plans.json cannot be read" in said[0]


def test_a_note_of_a_deployment_that_a_power_loss_left_empty_is_removed(deployed_host, stage):  # noqa: F811
    put(stage())
    path = plan_sets.FOLDER / "deploying.json"
    path.write_text("")
    assert deploy_journal.is_left()
    resume.resume(quiet)
    assert not path.exists()


@pytest.mark.parametrize("content", [b"\xff\xfe", b'{"schema": 2, "starts": [3, {"agent": "left"}]}', b"[]"])
@pytest.mark.parametrize("name", ["history.jsonl", "switches.prom", "starts.json", "canaries.json"])
def test_a_damaged_file_of_the_state_does_not_fail_a_switch(planned, host, name, content):  # noqa: F811
    serving.make_folder()
    (serving.FOLDER / name).write_bytes(content)
    go(planned, "left")
    assert history.load()[-1].outcome == history.DONE
    assert "roundhouse_switch_phase_seconds" in switch_metrics.path().read_text()


def test_a_damaged_entry_is_left_out_and_the_others_are_kept(planned, host):  # noqa: F811
    go(planned, "left")
    (agent,) = [each for each in planned["agents"] if each["name"] == "left"]
    starts = json.loads(start_phases.path().read_text())
    starts["starts"] += [{"agent": "left", "model_path": "/m", "seconds": "1", "began": {}}, {"agent": "left"}]
    start_phases.path().write_text(json.dumps(starts))
    answers = json.loads(canary.path().read_text())
    answers["answers"]["big"] = "text"
    canary.path().write_text(json.dumps(answers))
    with history.path().open("ab") as file:
        file.write(
            b'\xff\n{"began": "x", "previous": null, "to": 1, "outcome": "done", "stages": {}, "cut": 0, "cause": 1}\n'
        )
    with switch_metrics.path().open("a") as file:
        file.write('roundhouse_switch_phase_seconds_sum{from="x"} many\n')
    assert start_phases.known(agent).seconds >= 0
    assert [*canary._load()] == ["left"]
    assert [entry.to for entry in history.load()] == ["left"]
    go(planned, "right")
    go(planned, "big")
