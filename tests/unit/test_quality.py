"""The quality gate's arithmetic against the definitions, and the requirements of quantizing."""

import json
import math
import random

import pytest
from refusal import refused

from roundhouse.catalog.recipes import RECIPES, Bounds
from roundhouse.quantize import quality, requirements, texts
from roundhouse.quantize.quality import Position, Quality

BOUNDS = Bounds(kl=0.05, top1=0.9, perplexity=1.05)


def distribution(seed, tokens=50):
    """Return log-probabilities of all tokens."""
    weights = [random.Random(seed * 1000 + token).random() ** 3 for token in range(tokens)]
    return {str(token): math.log(weight / sum(weights)) for token, weight in enumerate(weights)}


def true_kl(base, other):
    return sum(math.exp(ln) * (ln - other[token]) for token, ln in base.items())


def likeliest(full, count):
    return dict(sorted(full.items(), key=lambda item: -item[1])[:count])


@pytest.mark.parametrize("seed", range(5))
def test_the_divergence_is_the_definitions_where_all_tokens_are_listed(seed):
    base, other = distribution(seed), distribution(seed + 10)
    assert quality.divergence(base, other) == pytest.approx(true_kl(base, other), abs=1e-9)
    assert quality.divergence(base, base) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [5, 20, 40])
def test_of_the_likeliest_tokens_alone_it_is_never_more(seed, count):
    base, other = distribution(seed), distribution(seed + 10)
    found = quality.divergence(likeliest(base, count), likeliest(other, count))
    assert 0 <= found <= true_kl(base, other) + 1e-9
    if count == 40:
        assert found > true_kl(base, other) / 3


def test_the_texts_own_token_does_not_bound_the_unlisted_tokens():
    listed = {"1": (-0.1, 1), "2": (-3.0, 2), "9": (-30.0, 900)}
    entries = {token: {"logprob": ln, "rank": rank} for token, (ln, rank) in listed.items()}
    (found,) = quality.positions([None, entries], [5, 9])
    assert found == Position(-30.0, {"1": -0.1, "2": -3.0})


def test_a_model_that_lists_none_of_the_bases_words_is_not_near_it():
    base = {"1": math.log(0.9), "2": math.log(0.09)}
    other = {"7": math.log(0.6), "8": math.log(0.3)}
    assert quality.divergence(base, other) > 0.8


def test_comparing_counts_agreement_and_perplexity():
    base = [Position(math.log(0.5), {"1": math.log(0.5), "2": math.log(0.4)})] * 2
    other = [Position(math.log(0.25), {"1": math.log(0.3), "2": math.log(0.5)}), base[0]]
    found = quality.compare(base, other)
    assert (found.top1, found.tokens) == (0.5, 2)
    assert found.base_perplexity == pytest.approx(2)
    assert found.perplexity == pytest.approx(math.sqrt(4 * 2))


def test_a_refusal_states_the_deviation():
    assert quality.refusals(Quality(0.01, 0.95, 10.1, 10.0, 100), BOUNDS) == []
    assert quality.refusals(Quality(1.84, 0.06, 617.0, 103.9, 100), BOUNDS) == [
        "the KL divergence is 1.8400 nats per token, the limit is 0.05.",
        "the top-1 agreement is 6.0%, the minimum is 90%.",
        "the perplexity is 617.00, 5.938 times the base's 103.90; the limit is 1.05 times.",
    ]


def folder(place, **config):
    place.mkdir()
    held = {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 4, "vocab_size": 8, **config}
    (place / "config.json").write_text(json.dumps(held))
    (place / "tokenizer.json").write_text(json.dumps({"model": {"vocab": held["vocab_size"]}}))
    return place


def test_another_vocabulary_is_another_model(tmp_path):
    base = folder(tmp_path / "base")
    assert quality.other_vocabulary(base, folder(tmp_path / "same")) is None
    assert "has 9 tokens, but the base has 8" in quality.other_vocabulary(base, folder(tmp_path / "more", vocab_size=9))
    other = folder(tmp_path / "other")
    (other / "tokenizer.json").write_text('{"model": {"vocab": 7}}')
    assert "differs from the base" in quality.other_vocabulary(base, other)


@pytest.mark.parametrize(
    ("config", "group_size", "said"),
    [
        ({"hidden_size": 192}, 128, "hidden_size is 192, not a multiple of the group size 128: use --group-size 64."),
        (
            {"intermediate_size": 500},
            128,
            "intermediate_size is 500, not a multiple of the group size 128: use a recipe",
        ),
        ({"quantization_config": {"bits": 4}}, 128, "the model is already quantized: name its 16-bit base."),
        ({"head_dim": 40}, 32, None),
    ],
)
def test_obstacles_to_quantization_are_found_in_config_json(tmp_path, config, group_size, said):
    model = requirements.read(folder(tmp_path / "base", **config))
    found = requirements.problems(model, RECIPES["gptq"], group_size, tmp_path)
    assert [said in found[0]] == [True] if said else found == []
    assert len(found) == (1 if said and "hidden" not in said else len(found))


def test_memory_and_disk_are_named_with_both_numbers(tmp_path, monkeypatch):
    model = requirements.read(folder(tmp_path / "base"))._replace(weights_bytes=1 << 62)
    memory, disk = requirements.problems(model, RECIPES["fp8"], 0, tmp_path)
    assert "GiB of memory, but" in memory
    assert str(tmp_path) in disk
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\n")
    monkeypatch.setattr(requirements, "MEMINFO", tmp_path / "meminfo")
    assert requirements.available_ram_bytes() is None


def test_the_two_halves_of_the_text_have_nothing_in_common(tmp_path):
    own = texts.read(None)
    assert len(own.held_out) > 100
    assert not set(own.calibration) & set(own.held_out)
    assert texts.read(None).sha256 == own.sha256
    mine = tmp_path / "mine.jsonl"
    mine.write_text("\n".join(json.dumps({"text": f"sentence number {number}"}) for number in range(100)))
    assert len(texts.read(mine).calibration) + len(texts.read(mine).held_out) == 100
    mine.write_text("one\ntwo\n")
    with refused("calibration_too_short", available=2, least=32):
        texts.read(mine)
    mine.write_text('{"no": 1}\n')
    with refused("calibration_unreadable", path=str(mine)):
        texts.read(mine)
