"""Good results pass the gate on the real engine, and a damaged model fails it."""

import re

import pytest
from conftest import STORE

from roundhouse.catalog import hf_formats
from roundhouse.catalog.recipes import RECIPES
from roundhouse.models import quantized

MADE = ("int8", "gptq", "awq", "auto-round")


def is_admitted(made, recipe):
    """Check an admitted result: its figures, format, model card, path and bytes."""
    figures = re.search(
        r"KL divergence \| ([\d.]+) nats.*top-1 agreement \| ([\d.]+) .*perplexity \| ([\d.]+); the base has ([\d.]+) "
        r".*on (\d+) held-out tokens",
        made["card"],
        re.DOTALL,
    )
    assert figures, made["card"]
    kl, top1, perplexity, base, tokens = map(float, figures.groups())
    assert 0 < kl < 0.02
    assert top1 > 0.90
    # On unseen text the perplexity of a random model would be the size of the vocabulary, 1536.
    assert max(perplexity, base) < 200
    assert tokens > 3000
    assert hf_formats.read(made["config"])[0].name == RECIPES[recipe].form
    for said in ("llmcompressor 0.14.0.1", "| seed | 0 |", "sha256 of the texts"):
        assert said in made["card"]
    assert f"./quantized/base-{recipe}/" in made["listing"]
    assert "partial" not in made["listing"]
    assert made["verified"] == 0


@pytest.mark.parametrize("recipe", MADE)
def test_a_good_result_is_admitted_with_its_model_card(evidence, recipe):
    made = evidence[recipe]
    if RECIPES[recipe].bits == 4 and not evidence["avx512"]:
        pytest.skip("the engine has no kernel for 4-bit weights on this machine's CPU, which lacks AVX-512")
    assert made["ok"], made
    assert made["begun"]
    is_admitted(made, recipe)
    assert f"{made['quality']['kl']:.5f} nats" in made["card"]
    assert f"./quantized/base-{recipe}/{made['path'].rpartition('/')[2]}" in made["listing"].split()


@pytest.mark.parametrize("recipe", [name for name in MADE if RECIPES[name].bits == 4])
def test_four_bits_without_a_cpu_kernel_are_refused_before_a_load(evidence, recipe):
    if evidence["avx512"]:
        pytest.skip("this machine's CPU has AVX-512")
    made = evidence[recipe]
    assert (made["ok"], made["rc"]) == (False, 2)
    assert "only on a CPU with AVX-512, which this CPU lacks: use fp8 or int8." in made["errors"][0]["message"]
    assert not made["begun"]


def test_a_roster_with_a_recipe_serves_the_result(evidence):
    made = evidence["roster"]["first"]
    assert made["rc"] == 0, made["output"]
    revision = made["locked"]["lab/base@main"]["revision"]
    path = quantized.path("lab/base", revision, "fp8")
    assert set(made["listing"].split()) == {f"./lab/base/{revision}", f"./{path}"}
    is_admitted(made, "fp8")
    (agent,) = made["plan"]["agents"]
    assert agent["model_path"] == f"{STORE}/{path}"
    (row,) = made["status"]["agents"]
    # drift compares the folder that the engine reports with the plan's.
    assert (row["state"], row["problem"], row["drift"]) == ("ready", None, [])


def test_the_second_run_changes_nothing(evidence):
    again = evidence["roster"]["again"]
    assert again["rc"] == 0, again["output"]
    assert "changed=0" in again["output"]


def test_a_damaged_model_is_refused_with_its_deviation_and_the_agent_stays_active(evidence):
    refused = evidence["roster"]["sabotaged"]
    said = " ".join(refused["output"].split())
    assert refused["rc"] != 0
    assert "quantized/base-fp8 failed the quality gate, and base is not replaced" in said
    assert "nats per token, the limit is 0.02" in said
    assert "Replace quantize: fp8 in the roster by another recipe, or remove it." in said
    before = evidence["roster"]["again"]
    assert refused["left"] == evidence["roster"]["first"]["listing"]
    assert refused["plan"] == before["plan"]
    assert [row["state"] for row in refused["status"]["agents"]] == ["ready"]


def test_a_model_of_another_vocabulary_is_refused(evidence):
    refused = evidence["other_vocabulary"]
    assert (refused["ok"], refused["rc"]) == (False, 1)
    assert "tokenizer.json differs from the base's." in refused["errors"][0]["message"]
    assert refused["left"] == evidence["roster"]["first"]["listing"]


def test_an_interrupted_run_leaves_its_work_and_no_engine(evidence):
    left = evidence["roster"]["interrupted"]
    assert left["rc"] == 130
    assert "./quantized/base-fp8/work.partial" in left["store"].split()
    assert left["engines"] == ""


def test_an_invalid_group_size_is_refused_before_a_load(evidence):
    refused = evidence["refused_group"]
    assert (refused["ok"], refused["rc"]) == (False, 2)
    assert (
        "hidden_size is 192, not a multiple of the group size 128: use --group-size 64."
        in refused["errors"][0]["message"]
    )
    assert not refused["begun"]


def test_a_too_short_text_is_refused_before_a_load(evidence):
    refused = evidence["short_texts"]
    assert (refused["ok"], refused["rc"]) == (False, 2)
    assert re.search(
        r"short\.txt has \d+ tokens for evaluation, but needs at least 1024", refused["errors"][0]["message"]
    )
    assert not refused["begun"]
    assert refused["left"] == ""
