"""The deployed plan: what loading one refuses."""

import json
from pathlib import Path

import pytest
import yaml

from roundhouse import plan, planner
from roundhouse.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]


def shipped():
    return yaml.safe_load((ROOT / "group_vars/all/agents.yml").read_text())["agents"]


def build(agents):
    return planner.build(agents, planner.Settings("cpu", "/opt/e", "/srv/m", 900))


def test_a_pulled_model_lies_under_repository_and_revision():
    assert plan.path_of({"model": "a/b"}, "/srv/m") == "/srv/m/a/b/main"
    assert plan.path_of({"model": "a/b", "revision": "v1"}, "/srv/m") == "/srv/m/a/b/v1"
    assert plan.path_of({"model": "/own/model"}, "/srv/m") == "/own/model"


def test_a_plan_is_read_back_as_it_was_written(tmp_path):
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(build(shipped())))
    assert plan.load(file) == build(shipped())


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
        plan.load(file)


def test_no_plan_says_how_to_get_one(tmp_path):
    with pytest.raises(UsageError, match=r"deploy first, with ansible-playbook site\.yml"):
        plan.load(tmp_path / "plan.json")


def test_an_unknown_agent_is_told_the_names():
    with pytest.raises(UsageError, match="'nosuch' is not an agent of this host: say one of architect, dev, po"):
        plan.find(build(shipped()), "nosuch")
