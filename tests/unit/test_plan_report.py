"""The plan's text: a bar with correct parts, and one line for each reduction."""

import json

import gpu_facts
import pytest
from test_plan_build import build, host, shipped, stated, written

from roundhouse.cli import plan
from roundhouse.host import gpu
from roundhouse.plan import build as plan_build
from roundhouse.plan import decide, report


@pytest.mark.parametrize("gib", [7.5, 15.5, 23.52, 79.18])
def test_the_bar_divides_the_card(gib):
    for agent in build(on=host(gib))["agents"]:
        share, fit = agent["gpu_memory_utilization"], agent["fit"]
        bar = report.bar(fit, share)
        assert len(bar) == report.BAR_WIDTH + 2
        per_mark = gib / report.BAR_WIDTH
        parts = {"#": fit["weights_gib_per_rank"], "+": fit["overhead_gib"], "=": fit["kv_gib_per_rank"]}
        for mark, held in parts.items():
            assert bar.count(mark) * per_mark == pytest.approx(held, abs=2 * per_mark)


def test_weights_that_do_not_fit_fill_the_bar():
    fit = {"card_gib": 8.0, "weights_gib_per_rank": 18.1, "overhead_gib": 1.0}
    assert report.bar(fit, 0.9) == f"[{'#' * report.BAR_WIDTH}]"


def test_the_text_has_the_changed_settings_and_reasons():
    text = report.text(build(), [])
    assert "changed model from Qwen/Qwen2.5-32B-Instruct to Qwen/Qwen2.5-14B-Instruct-AWQ" in text
    assert "Qwen/Qwen2.5-32B-Instruct-AWQ (awq): no. The weights take 18.14 GiB and the engine's share is 13.17" in text
    assert "changed kv_cache_dtype from auto to fp8: One request of 32,768 tokens lacks" in text
    assert f"changed max_model_len from 32768 to {build()['agents'][0]['max_model_len']}: " in text


def test_the_text_has_the_measured_memory():
    made = build()
    text = report.text(made, [stated(made["agents"][2], 1.0)])
    assert "measured here: weights 5.28 GiB, KV cache 4.57 GiB" in text


def test_an_unknown_fit_has_its_reason():
    text = report.text(build(on=decide.Host()), [])
    assert "No GPU of this host is known." in text
    assert "unknown" in text


def test_the_command_prints_the_same_plan_as_json(capsys):
    assert plan.main(["--vram-gib", "15.5", "--gpu", "RTX 5060 Ti 16GB", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["schema"], answer["ok"], answer["errors"]) == (2, True, [])
    for shown, planned in zip(
        answer["agents"], written(plan_build.build(shipped(), plan.SETTINGS, host()))["agents"], strict=True
    ):
        for name in ("name", "model", "quantization", "max_model_len", "verdict", "given_up", "gpus"):
            assert shown[name] == planned[name]
        assert shown["kv_tokens"] == planned["fit"]["kv_tokens"]


def test_a_roster_that_does_not_fit_exits_with_1(capsys):
    assert plan.main(["--vram-gib", "4", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is False
    assert answer["errors"][0]["message"].startswith("agents[architect].models: no model is known to fit.")


def test_the_marketing_size_is_converted_to_the_total_of_cuda(capsys):
    plan.main(["--vram-gib", "16", "--gpu", "RTX 5060 Ti 16GB"])
    assert "CUDA's total is assumed as 15.5 GiB" in capsys.readouterr().out
    plan.main(["--vram-gib", "15.9", "--gpu", "RTX 5060 Ti 16GB"])
    assert "of 15.9 GiB" in capsys.readouterr().out


def test_the_json_has_the_explanation(capsys):
    plan.main(["--vram-gib", "15.5", "--explain", "--json"])
    agents = json.loads(capsys.readouterr().out)["agents"]
    assert all(row["formula"] and row["source"] for agent in agents for row in agent["explain"])


def test_explain_has_a_source_for_each_number(capsys):
    plan.main(["--vram-gib", "15.5", "--explain"])
    out = capsys.readouterr().out
    assert out.count("kv_tokens: ") == 3
    assert out.count("source: ") == out.count("      = ") > 20


def test_the_plan_uses_this_hosts_cards(capsys, monkeypatch):
    card = gpu_facts.driven(memory_gib=15.95)
    monkeypatch.setattr(gpu, "facts", lambda: {"gpus": [card]})
    assert plan.main(["--details"]) == 0
    assert "] 15.5 GiB" in capsys.readouterr().out
