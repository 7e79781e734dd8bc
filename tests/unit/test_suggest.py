"""`plan.py suggest` lists models for each role, and the rosters that it writes plan as stated."""

import importlib.util
import json

import pytest

from roundhouse.catalog import gpus
from roundhouse.cli import plan as plan_command
from roundhouse.cli import plan_question
from roundhouse.paths import CHECKOUT
from roundhouse.plan import build, suggest
from roundhouse.util import yaml_file

CARDS = ("RTX 3060", "RTX 5060 Ti 16GB", "RTX 3090", "RTX 5090", "L40S", "RTX PRO 6000", "H200", "DGX Spark")


def host(name, count=1):
    card = gpus.find(name, None)
    return plan_question.imagined(card, count, total_gib=gpus.total_gib(card) or 121.7)


@pytest.mark.parametrize(("name", "count"), [*((name, 1) for name in CARDS), ("RTX 4090", 2), ("RTX 5060 Ti 16GB", 2)])
def test_a_suggested_roster_plans_as_stated(name, count):
    cards = host(name, count)
    found = suggest.suggestions(cards)
    agents = suggest.roster(found, suggest.share(cards))
    assert [agent["name"] for agent in agents] == list(found)
    plan = build.build(agents, plan_command.SETTINGS, cards)
    assert plan["problems"] == []
    for agent, planned in zip(agents, plan["agents"], strict=True):
        assert planned["model"] == agent["models"][0]["model"]
        assert planned["max_model_len"] == agent["max_model_len"] >= suggest.LEAST_TOKENS
        assert planned["kv_cache_dtype"] == agent["kv_cache_dtype"]
        assert planned["verdict"] == "fits"


def test_a_larger_card_has_at_least_the_same_model():
    order = {role: entry["models"] for role, entry in suggest.read()["roles"].items()}
    best = {role: len(models) for role, models in order.items()}
    for name in ("RTX 3060", "RTX 5060 Ti 16GB", "RTX 3090", "RTX 5090", "L40S", "RTX PRO 6000"):
        for role, entries in suggest.suggestions(host(name)).items():
            place = next(index for index, each in enumerate(entries) if each.question)
            assert place <= best[role]
            best[role] = place


def test_each_candidate_is_described():
    stated = suggest.read()
    named = {model for entry in stated["roles"].values() for model in entry["models"]}
    assert named <= set(stated["models"])
    for facts in stated["models"].values():
        assert set(facts) == {"tool_call_parser", "temperature", "top_p", "released", "licence"}


def test_the_shipped_rosters_are_those_of_the_command():
    spec = importlib.util.spec_from_file_location("rosters", CHECKOUT / "docs/rosters.py")
    rosters = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rosters)
    files = {path.name: path.read_text() for path in (CHECKOUT / "rosters").glob("*.yml")}
    assert files == rosters.made(), "run docs/rosters.py"
    for name in files:
        assert yaml_file.read(CHECKOUT / "rosters" / name)["agents"]


def run(capsys, *line):
    status = plan_command.main(list(line))
    out = capsys.readouterr()
    return status, out.out, out.err


def test_the_command_writes_a_new_file_only(capsys, tmp_path):
    path = tmp_path / "agents.yml"
    status, out, _ = run(capsys, "suggest", "--gpu", "RTX 5090", "--write", str(path))
    assert status == 0
    assert "nvidia/Qwen3.8-27B-NVFP4" in out
    assert "2026-08-14" in out
    assert json.loads(run(capsys, "--roster", str(path), "--gpu", "RTX 5090", "--json")[1])["ok"]
    assert "exists" in run(capsys, "suggest", "--gpu", "RTX 5090", "--write", str(path))[2]
    assert "suggest" in run(capsys, "--gpu", "RTX 5090", "--write", str(path))[2]


def test_the_answer_for_programs_has_numbers_and_sources(capsys):
    status, out, _ = run(capsys, "suggest", "--gpu", "RTX 3060", "--json")
    answer = json.loads(out)
    assert status == 0
    first = next(row for row in answer["models"] if row["fits"])
    assert first["weights_gib_per_rank"] > 0
    assert first["kv_tokens"] > first["max_model_len"]
    assert first["licence"]
    assert first["source"]
    assert all(row["reason"] for row in answer["models"] if not row["fits"])


def test_a_card_without_a_fitting_model_is_no(capsys):
    assert run(capsys, "suggest", "--vram-gib", "1.5")[0] == 1
