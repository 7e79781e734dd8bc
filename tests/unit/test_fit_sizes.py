"""Weights and KV bytes equal published sizes and those of start logs."""

import pytest

from roundhouse.catalog import model_families
from roundhouse.fit import kv_cache
from roundhouse.fit.sizes import weights
from roundhouse.util.units import GIB
from roundhouse.vllm.formats import WEIGHT_FORMATS


def held(name, form="bf16", ranks=1):
    model = model_families.in_format(name, model_families.ARCHITECTURES[name], form)
    return weights(model.architecture, model.form, ranks)


@pytest.mark.parametrize(
    ("name", "form", "published", "within"),
    [
        # model.safetensors.index.json's total_size, exact; then file sizes as the hubs round them.
        ("Qwen2.5-7B", "bf16", 15231233024, 0),
        ("Qwen2.5-32B", "bf16", 65527752704, 0),
        ("Qwen2.5-7B", "awq", 5.5728e9, 0.001),
        ("Qwen2.5-0.5B", "gptq-int8", 639694275, 0.001),
        ("Qwen2.5-14B", "gptq-int4", 9.98e9, 0.001),
    ],
)
def test_bytes_on_disk_are_the_published_ones(name, form, published, within):
    assert held(name, form).disk == pytest.approx(published, rel=within or 1e-12)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("Qwen2.5-0.5B", 494032768),
        ("Qwen2.5-3B", 3085938688),
        ("Qwen2.5-14B", 14770033664),
        ("Qwen2.5-72B", 72706203648),
        ("Qwen3-0.6B", 596049920),
        ("Qwen3-32B", 32762123264),
        ("Qwen3-30B-A3B", 30532122624),
        ("Llama-3.1-8B", 8030261248),
        ("Llama-3.2-1B", 1235814400),
        ("Llama-3.2-3B", 3212749824),
        ("Llama-3.3-70B", 70553706496),
        ("Mistral-7B-v0.3", 7248023552),
    ],
)
def test_sixteen_bit_is_two_bytes_for_each_parameter_of_the_model_card(name, parameters):
    assert held(name).disk == 2 * parameters


@pytest.mark.parametrize(
    ("name", "form", "ranks", "stated_gib"),
    [
        ("Llama-3-8B", "bf16", 1, 14.96),  # vllm#10511
        ("Llama-3-8B", "bf16", 2, 7.48),  # vllm#10511
        ("Llama-3.1-8B", "bf16", 1, 14.9889),  # vllm#17122
        ("Qwen3-30B-A3B", "bf16", 4, 14.2474),  # vllm#17327
        ("Qwen2.5-32B", "bf16", 1, 61.0374),  # vllm#16301
        ("QwQ-32B", "awq", 1, 18.1494),  # the rest: public start-up logs
        ("Qwen3-8B", "fp8-block", 1, 8.80),
        ("Qwen3-0.6B", "bf16", 2, 0.567),
        ("Qwen2.5-7B", "bf16", 1, 14.29),
        ("Qwen2.5-7B", "awq", 1, 5.29),
        ("Qwen3-14B", "nvfp4", 1, 9.97),
        ("Phi-4-14B", "gptq-int4", 1, 8.5107),
    ],
)
def test_resident_weights_are_those_of_the_logs_within_half_a_percent(name, form, ranks, stated_gib):
    # Engines before 0.21 split segments, which saves up to 3 % for a small model. Their logs are not used.
    assert held(name, form, ranks).resident / GIB == pytest.approx(stated_gib, rel=0.005)


def test_the_quantized_72b_repositories_pad_the_intermediate_size():
    model = model_families.find("Qwen/Qwen2.5-72B-Instruct-AWQ")
    assert model.architecture.intermediate_size == 29696
    assert model_families.find("Qwen/Qwen2.5-72B-Instruct").architecture.intermediate_size == 29568
    assert held("Qwen2.5-72B", "awq").disk / 1e9 == pytest.approx(41.6, rel=0.005)


def test_a_decode_step_reads_no_embedding_table_and_only_the_chosen_experts():
    dense = held("Qwen2.5-14B", "awq")
    assert 448e9 / dense.read_per_token == pytest.approx(53.2, abs=0.2)  # 9.98 GB less the embeddings
    tied = held("Qwen2.5-3B")
    assert tied.read_per_token == pytest.approx(tied.disk, rel=0.001)  # the embedding table is also the lm_head
    mixture = held("Qwen3-30B-A3B")
    assert 2 * 2.8e9 < mixture.read_per_token < 2 * 3.4e9  # "A3B"


@pytest.mark.parametrize(
    ("name", "kib"),
    [("Qwen2.5-0.5B", 12), ("Qwen2.5-7B", 56), ("Qwen2.5-14B", 192), ("Qwen2.5-72B", 320), ("Qwen3-8B", 144)],
)
def test_kv_bytes_of_a_token(name, kib):
    architecture = model_families.ARCHITECTURES[name]
    assert kv_cache.bytes_per_token(architecture, "auto", 1) == kib * 1024
    assert kv_cache.bytes_per_token(architecture, "fp8", 1) == kib * 512
    ranks = architecture.num_key_value_heads
    assert kv_cache.bytes_per_token(architecture, "auto", ranks) == kib * 1024 // ranks
    assert kv_cache.bytes_per_token(architecture, "auto", 2 * ranks) == kib * 1024 // ranks


@pytest.mark.parametrize(
    ("name", "kv_gib", "tokens"),
    # Public start-up logs; the GiB are rounded to two places.
    [("Qwen3-8B", 19.36, 140960), ("Qwen2.5-0.5B", 18.08, 1579808), ("Qwen3-14B", 29.15, 191056)],
)
def test_tokens_of_a_logged_kv_cache(name, kv_gib, tokens):
    found = kv_cache.pool(model_families.ARCHITECTURES[name], kv_cache.Settings()).tokens(kv_gib * GIB, 4096)
    assert found == pytest.approx(tokens, rel=0.002)
    assert found % kv_cache.BLOCK_TOKENS == 0


def test_tensor_parallel_ranks_share_the_linear_layers():
    for form in WEIGHT_FORMATS:
        one, two = held("Qwen2.5-14B", form), held("Qwen2.5-14B", form, 2)
        assert two.resident == pytest.approx(one.resident / 2, rel=0.015)  # segments have other boundaries
        assert one.disk == two.disk


@pytest.mark.parametrize(
    ("repo", "form", "positions"),
    [
        ("Qwen/Qwen2.5-Coder-32B-Instruct-GPTQ-Int8", "gptq-int8", 32768),
        ("Qwen/Qwen2.5-7B", "bf16", None),
        ("Qwen/Qwen3-32B-AWQ", "awq", 40960),
        ("Qwen/Qwen3-8B-Base", "bf16", None),
        ("Qwen/Qwen3-4B-Instruct-2507-FP8", "fp8-block", 262144),
        ("Qwen/Qwen3-30B-A3B-FP8", "fp8-block", 40960),
        ("Qwen/QwQ-32B-AWQ", "awq", 40960),
    ],
)
def test_the_catalog_knows_the_families_by_name(repo, form, positions):
    found = model_families.find(repo)
    assert (found.form.name, found.architecture.max_position_embeddings) == (form, positions)
    assert found.architecture.source


@pytest.mark.parametrize(
    "repo",
    [
        "Qwen/Qwen2.5-7B-AWQ",
        "Qwen/Qwen2.5-7B-Instruct-FP8",
        "Qwen/Qwen2.5-Coder-72B-Instruct",
        "Qwen/Qwen2.5-9B-Instruct",
        "Qwen/Qwen2.5-VL-9B-Instruct",
        "Qwen/Qwen3-8B-Instruct",
        "Qwen/Qwen3-8B-Instruct-2507",
        "Qwen/Qwen3-1.7B-AWQ",
        "Qwen/Qwen3-8B-GPTQ-Int4",
        "Qwen/QwQ-32B-Base",
        "Qwen/QwQ-32B-GPTQ-Int8",
        "someone/Qwen2.5-7B-Instruct",
    ],
)
def test_an_unpublished_name_is_unknown(repo):
    assert model_families.find(repo) is None


def test_the_catalog_has_all_sizes_of_the_families():
    for size in ("0.5B", "1.5B", "3B", "7B", "14B", "32B", "72B"):
        for suffix in ("", "-AWQ", "-GPTQ-Int4", "-GPTQ-Int8"):
            assert model_families.find(f"Qwen/Qwen2.5-{size}-Instruct{suffix}")
            assert size == "72B" or model_families.find(f"Qwen/Qwen2.5-Coder-{size}-Instruct{suffix}")
    for size in ("0.6B", "1.7B", "4B", "8B", "14B", "32B"):
        # The small ones in GPTQ-Int8, the others in AWQ.
        published = ("", "-FP8", "-GPTQ-Int8" if size in ("0.6B", "1.7B") else "-AWQ")
        found = [
            f"-{suffix}" if suffix else ""
            for suffix in ("", *model_families._SUFFIXES)
            if model_families.find(f"Qwen/Qwen3-{size}-{suffix}".rstrip("-"))
        ]
        assert sorted(found) == sorted(published)
