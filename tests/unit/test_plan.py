"""Loading the deployed plan, and its refusals."""

import json

import pytest
import yaml

from roundhouse.errors import UsageError
from roundhouse.paths import CHECKOUT as ROOT
from roundhouse.plan import build as plan_build
from roundhouse.plan import deployed, model_folder


def shipped():
    return yaml.safe_load((ROOT / "group_vars/all/agents.yml").read_text())["agents"]


def build(agents):
    return plan_build.build(agents, plan_build.Settings("cpu", "/opt/e", "/srv/m", 900))


def test_a_pulled_model_lies_under_repository_and_revision():
    assert model_folder.path_of("a/b", "/srv/m") == "/srv/m/a/b/main"
    assert model_folder.path_of("a/b", "/srv/m", "v1") == "/srv/m/a/b/v1"
    assert model_folder.path_of("/own/model", "/srv/m") == "/own/model"


def test_a_plan_is_read_back_as_it_was_written(tmp_path):
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(build(shipped())))
    assert deployed.load(file) == build(shipped())


def test_keys_that_an_earlier_version_did_not_write_are_added(tmp_path):
    file, plan = tmp_path / "plan.json", build(shipped())
    file.write_text(
        json.dumps(plan | {"agents": [_without(agent, "enforce_eager", "engine_port") for agent in plan["agents"]]})
    )
    assert deployed.load(file) == plan


def _without(agent, *names):
    return {key: value for key, value in agent.items() if key not in names}


def broken_plans():
    good = build(shipped())
    twice = json.loads(json.dumps(good))
    twice["agents"][1]["port"] = 8000
    yield "plan_unreadable", "{"
    yield "plan_schema_unknown", json.dumps(good | {"schema": 99})
    yield "plan_schema_unknown", "[]"
    yield "plan_empty", json.dumps(good | {"agents": []})
    yield "plan_ambiguous", json.dumps(twice)
    yield "plan_incomplete", json.dumps(good | {"agents": [{"name": "dev"}]})


@pytest.mark.parametrize(("code", "text"), list(broken_plans()))
def test_an_invalid_plan_is_refused(tmp_path, code, text):
    file = tmp_path / "plan.json"
    file.write_text(text)
    with pytest.raises(UsageError) as error:
        deployed.load(file)
    assert (error.value.code, error.value.fields["path"]) == (code, str(file))


def test_a_missing_plan_is_reported_with_the_remedy(tmp_path):
    with pytest.raises(UsageError) as error:
        deployed.load(tmp_path / "plan.json")
    assert error.value.code == "plan_missing"
    assert "ansible-playbook site.yml" in error.value.remedy


def test_an_unknown_agent_is_refused_with_the_known_names():
    with pytest.raises(UsageError) as error:
        deployed.find(build(shipped()), "nosuch")
    assert (error.value.code, error.value.fields["agent"]) == ("unknown_agent", "nosuch")
    assert "architect, dev, po" in error.value.remedy
