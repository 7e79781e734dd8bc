"""Honest results pass the gate on the real engine, a model that only looks like one does not."""

import pytest

RECIPES = ("fp8", "int8", "gptq", "awq")


@pytest.mark.parametrize("recipe", RECIPES)
def test_an_honest_result_is_admitted_with_its_card(evidence, recipe):
    made = evidence[recipe]
    assert made["ok"], made
    quality = made["quality"]
    assert 0 < quality["kl"] < 0.02
    assert quality["top1"] > 0.90
    # Text that it never saw, by a vocabulary of 1536: by chance alone it would be the vocabulary.
    assert quality["base_perplexity"] < 200
    assert quality["tokens"] > 3000
    assert f"./quantised/base-{recipe}/{made['path'].rpartition('/')[2]}" in made["listing"].split()
    assert "partial" not in made["listing"]
    assert made["verified"] == 0
    for said in ("llmcompressor 0.14.0.1", "| seed | 0 |", "sha256 of the texts", f"{quality['kl']:.5f} nats"):
        assert said in made["card"]


def test_a_model_with_shuffled_weights_is_refused_and_says_by_how_much(evidence):
    refused = evidence["sabotaged"]
    assert (refused["ok"], refused["rc"]) == (False, 1)
    (error,) = refused["errors"]
    assert "quantised/base-fp8 is not admitted, and base stays in service" in error["message"]
    assert "nats a token, at most 0.02 is allowed" in error["message"]
    assert refused["left"] == ""


def test_a_model_of_another_vocabulary_is_refused(evidence):
    refused = evidence["other_vocabulary"]
    assert (refused["ok"], refused["rc"]) == (False, 1)
    assert "makes other tokens than the base's: it is another model." in refused["errors"][0]["message"]
    assert refused["left"] == ""


def test_an_interrupted_run_leaves_its_work_and_no_engine(evidence):
    left = evidence["interrupted"]
    assert left["rc"] == 130
    assert left["store"].split() == ["./quantised/base-fp8/work.partial"]
    assert left["engines"] == ""


def test_a_group_that_does_not_divide_is_refused_before_anything_is_loaded(evidence):
    refused = evidence["refused_group"]
    assert (refused["ok"], refused["rc"]) == (False, 2)
    assert (
        "hidden_size is 192, no whole number of groups of 128: use --group-size 64." in refused["errors"][0]["message"]
    )
    assert refused["seconds"] < 10
