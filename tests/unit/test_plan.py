"""The plan of the shipped rosters, and what loading one refuses."""

import json
from pathlib import Path

import pytest
import yaml

from roundhouse import plan
from roundhouse.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]


def shipped():
    return yaml.safe_load((ROOT / "group_vars/all/agents.yml").read_text())["agents"]


def build(agents, accelerator="cuda"):
    return plan.build(
        agents, accelerator=accelerator, engine_path="/opt/e", models_store="/srv/m", start_timeout_seconds=900
    )


def test_the_shipped_roster_is_the_users_wish():
    wish = {
        "architect": (8000, 32768, 0.1, 0.95, 0.85, "Qwen/Qwen2.5-32B-Instruct"),
        "dev": (8001, 32768, 0.3, 0.95, 0.95, "Qwen/Qwen2.5-Coder-32B-Instruct"),
        "po": (8002, 16384, 0.5, 0.9, 0.70, "Qwen/Qwen2.5-7B-Instruct"),
    }
    fields = ("port", "max_model_len", "temperature", "top_p", "gpu_memory_utilization", "model")
    agents = build(shipped())["agents"]
    assert {agent["name"]: tuple(agent[field] for field in fields) for agent in agents} == wish
    assert all(agent["not_taken"] for agent in agents)


def test_agents_of_one_card_are_ordered_and_conflict():
    by_name = {agent["name"]: agent for agent in build(shipped())["agents"]}
    assert by_name["po"]["conflicts"] == ["architect", "dev"]
    assert [by_name[name]["after"] for name in ("architect", "dev", "po")] == [[], ["architect"], ["architect", "dev"]]


def test_whether_it_fits_is_unknown_and_not_guessed():
    assert {agent["fits"] for agent in build(shipped())["agents"]} == {None}
    assert "not computed yet" in plan.summary(build(shipped())["agents"][0])


def test_a_pulled_model_lies_under_repository_and_revision():
    assert plan.path_of({"model": "a/b"}, "/srv/m") == "/srv/m/a/b/main"
    assert plan.path_of({"model": "a/b", "revision": "v1"}, "/srv/m") == "/srv/m/a/b/v1"
    assert plan.path_of({"model": "/own/model"}, "/srv/m") == "/own/model"


def test_the_accelerator_is_checked():
    with pytest.raises(UsageError, match="engine_accelerator is 'tpu': write cuda or cpu"):
        build(shipped(), accelerator="tpu")


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
