"""The deployed plan: what loading one refuses."""

import json

import pytest
import yaml

from roundhouse.errors import UsageError
from roundhouse.paths import CHECKOUT as ROOT
from roundhouse.plan import build as plan_build
from roundhouse.plan import deployed


def shipped():
    return yaml.safe_load((ROOT / "group_vars/all/agents.yml").read_text())["agents"]


def build(agents):
    return plan_build.build(agents, plan_build.Settings("cpu", "/opt/e", "/srv/m", 900))


def test_a_pulled_model_lies_under_repository_and_revision():
    assert deployed.path_of({"model": "a/b"}, "/srv/m") == "/srv/m/a/b/main"
    assert deployed.path_of({"model": "a/b", "revision": "v1"}, "/srv/m") == "/srv/m/a/b/v1"
    assert deployed.path_of({"model": "/own/model"}, "/srv/m") == "/own/model"


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
    yield "not JSON", "{"
    yield "another schema", json.dumps(good | {"schema": 99})
    yield "no agents", json.dumps(good | {"agents": []})
    yield "a port twice", json.dumps(twice)
    yield "not an object", "[]"


@pytest.mark.parametrize(("what", "text"), list(broken_plans()))
def test_a_plan_that_is_not_one_is_refused(tmp_path, what, text):
    file = tmp_path / "plan.json"
    file.write_text(text)
    with pytest.raises(UsageError, match="deploy again"):
        deployed.load(file)


def test_no_plan_says_how_to_get_one(tmp_path):
    with pytest.raises(UsageError, match=r"deploy first, with ansible-playbook site\.yml"):
        deployed.load(tmp_path / "plan.json")


def test_an_unknown_agent_is_told_the_names():
    with pytest.raises(UsageError, match="'nosuch' is not an agent of this host: say one of architect, dev, po"):
        deployed.find(build(shipped()), "nosuch")
