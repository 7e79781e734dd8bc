"""A config.json is read as a model, or as unknown with a reason if the formulas do not apply."""

import json

import pytest

from roundhouse.catalog import hf_config, model_families
from roundhouse.catalog.model_families import Model, Unknown
from roundhouse.errors import UsageError
from roundhouse.fit.estimate import Question, fit
from roundhouse.fit.sizes import weights
from roundhouse.util.units import GIB

# The relevant fields of Qwen/Qwen2.5-7B-Instruct's config.json.
QWEN25_7B = {
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "max_position_embeddings": 32768,
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "sliding_window": 131072,
    "use_sliding_window": False,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": 152064,
}


def parse(**changes):
    return hf_config.parse(QWEN25_7B | changes, "m")


def same_numbers(left, right):
    return left._replace(name="", source="") == right._replace(name="", source="")


def test_qwen2_equals_the_catalog():
    found = parse()
    assert same_numbers(found.architecture, model_families.ARCHITECTURES["Qwen2.5-7B"])
    assert found.form.name == "bf16"


def test_the_demos_llama_is_covered():
    # lab/smollm.py writes this config.json of SmolLM2-135M-Instruct. Its model card states 135 M parameters.
    config = {
        "architectures": ["LlamaForCausalLM"],
        "dtype": "bfloat16",
        **{"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30},
        **{"num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 8192},
        **{"rope_parameters": {"rope_theta": 100000.0, "rope_type": "default"}, "tie_word_embeddings": True},
        **{"attention_bias": False, "vocab_size": 49152},
    }
    found = hf_config.parse(config, "m")
    assert isinstance(found, Model)
    made = fit(Question(found, 15.5, 4096))
    assert (made.verdict, made.kv_bytes_per_token_per_rank) == ("fits", 2 * 30 * 3 * 64 * 2)
    assert weights(found.architecture, found.form, 1).disk == 2 * 134_515_008


def test_qwen3_has_a_head_dim_and_norms_but_no_bias():
    config = {
        "architectures": ["Qwen3ForCausalLM"],
        "attention_bias": False,
        "head_dim": 128,
        "hidden_size": 5120,
        "intermediate_size": 25600,
        "max_position_embeddings": 40960,
        "num_attention_heads": 64,
        "num_hidden_layers": 64,
        "num_key_value_heads": 8,
        "sliding_window": None,
        "vocab_size": 151936,
    }
    found = hf_config.parse(config, "m")
    assert same_numbers(found.architecture, model_families.ARCHITECTURES["Qwen3-32B"])


def test_experts_are_all_resident():
    config = {
        "architectures": ["Qwen3MoeForCausalLM"],
        "decoder_sparse_step": 1,
        "head_dim": 128,
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "max_position_embeddings": 40960,
        "mlp_only_layers": [],
        "moe_intermediate_size": 768,
        "num_attention_heads": 32,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "num_hidden_layers": 48,
        "num_key_value_heads": 4,
        "vocab_size": 151936,
    }
    found = hf_config.parse(config, "m")
    assert same_numbers(found.architecture, model_families.ARCHITECTURES["Qwen3-30B-A3B"])
    assert hf_config.parse(config | {"mlp_only_layers": [0]}, "m").architecture.moe_layers == 47


def test_mixtral_and_qwen2_moe_by_their_parameter_counts():
    mixtral = {
        "architectures": ["MixtralForCausalLM"],
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "max_position_embeddings": 32768,
        "num_attention_heads": 32,
        "num_experts_per_tok": 2,
        "num_hidden_layers": 32,
        "num_key_value_heads": 8,
        "num_local_experts": 8,
        "sliding_window": None,
        "vocab_size": 32000,
    }
    qwen = {
        "architectures": ["Qwen2MoeForCausalLM"],
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "max_position_embeddings": 8192,
        "moe_intermediate_size": 1408,
        "num_attention_heads": 16,
        "num_experts": 60,
        "num_experts_per_tok": 4,
        "num_hidden_layers": 24,
        "num_key_value_heads": 16,
        "shared_expert_intermediate_size": 5632,
        "vocab_size": 151936,
    }
    for config, parameters in ((mixtral, 46702792704), (qwen, 14315784192)):
        found = hf_config.parse(config, "m")
        assert weights(found.architecture, found.form, 1).disk == 2 * parameters


@pytest.mark.parametrize(
    ("quantization", "form", "group_size"),
    [
        ({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}, "awq", 128),
        ({"quant_method": "gptq", "bits": 8, "group_size": 32, "desc_act": False}, "gptq-int8", 32),
        ({"quant_method": "gptq", "bits": 4, "group_size": -1}, "gptq-int4", 0),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8-block", 128),
        ({"quant_method": "fp8"}, "fp8", 0),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bnb4", 64),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4", 16),
    ],
)
def test_the_checkpoints_format_is_read(quantization, form, group_size):
    found = parse(quantization_config=quantization).form
    assert (found.name, found.group_size) == (form, group_size)


@pytest.mark.parametrize(
    ("held", "activations", "form"),
    [
        ({"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128, "symmetric": True}, None, "w4a16"),
        ({"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128, "symmetric": False}, None, "awq"),
        ({"num_bits": 8, "type": "int", "strategy": "channel"}, {"num_bits": 8}, "int8"),
        ({"num_bits": 8, "type": "float", "strategy": "channel"}, {"num_bits": 8}, "fp8"),
        ({"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}, {"num_bits": 4}, "nvfp4"),
    ],
)
def test_compressed_tensors_state_their_format(held, activations, form):
    groups = {"group_0": {"weights": held, "input_activations": activations, "targets": ["Linear"]}}
    config = {"quant_method": "compressed-tensors", "config_groups": groups}
    assert parse(quantization_config=config).form.name == form


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"audio_config": {"a": 1}}, "audio_config is set"),
        ({"index_topk": 2048}, "index_topk is set"),
        ({"kv_lora_rank": 512}, "kv_lora_rank is set"),
        ({"layer_types": ["linear_attention"] * 28}, "layer_types has layers with a state"),
        ({"layer_types": ["sliding_attention"] * 28}, "sliding_window is set"),
        ({"layer_types": ["chunked_attention"] * 28}, "layer_types has 'chunked_attention'"),
        ({"layer_types": ["full_attention"]}, "layer_types has 1 entries for 28 layers"),
        ({"use_sliding_window": True}, "sliding_window is set"),
        ({"architectures": ["GemmaForCausalLM"]}, "architectures is 'GemmaForCausalLM'"),
        ({"architectures": None}, "has no architecture"),
        ({"architectures": "Qwen2ForCausalLM"}, "has no architecture"),
        ({"quantization_config": {"quant_method": "mxfp4"}}, "quantization_config is mxfp4"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4, "ignore": ["re:(a+)+$"]}}, "has the pattern"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 3}}, "'gptq'"),
        ({"quantization_config": {"quant_method": "compressed-tensors", "config_groups": {}}}, "is empty"),
        ({"quantization_config": {"quant_method": "compressed-tensors", "config_groups": {"a": {}}}}, "of type None"),
        ({"hidden_size": "3584"}, "hidden_size is '3584'"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
    ],
)
def test_an_uncovered_architecture_is_unknown_with_the_reason(changes, part):
    found = parse(**changes)
    assert isinstance(found, Unknown)
    assert part in found.reason
    assert found.reason.endswith(".")


def test_mistral_with_and_without_a_window():
    config = {key: value for key, value in QWEN25_7B.items() if key != "use_sliding_window"}
    config |= {"architectures": ["MistralForCausalLM"], "sliding_window": None}
    assert isinstance(hf_config.parse(config, "m"), Model)
    assert "sliding_window is set" in hf_config.parse(config | {"sliding_window": 4096}, "m").reason


def test_scaled_positions_raise_the_maximum():
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    assert parse(rope_scaling=yarn).architecture.max_position_embeddings == 131072
    llama3 = {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}
    assert parse(rope_scaling=llama3).architecture.max_position_embeddings == 32768


def test_a_folder(tmp_path):
    with pytest.raises(UsageError, match=r"has no config\.json"):
        hf_config.read(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UsageError, match="cannot be read as JSON"):
        hf_config.read(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(UsageError, match="JSON object"):
        hf_config.read(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(QWEN25_7B))
    found = hf_config.read(tmp_path)
    assert isinstance(found, Model)
    held = weights(found.architecture, found.form, 1).resident / GIB
    assert held == pytest.approx(14.29, abs=0.01)  # a start log of 0.24


def test_junk_in_any_field_is_unknown_or_harmless():
    more = {"head_dim": 128, "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 512}
    more |= {"layer_types": ["full_attention"], "rope_scaling": {}, "mlp_only_layers": [], "decoder_sparse_step": 1}
    more |= {"quantization_config": {"quant_method": "compressed-tensors", "config_groups": {}}}
    for kind in ("Qwen2ForCausalLM", "Qwen2MoeForCausalLM", "MixtralForCausalLM"):
        whole = QWEN25_7B | {"architectures": [kind]}
        for field in (*whole, *more):
            for junk in ("x", "", -1, 0, None, 1.5, [], [None], {}, {"a": 1}, {"config_groups": {"a": 1}}, True, 10**9):
                found = hf_config.parse(whole | more | {field: junk}, "m")
                assert isinstance(found, (Model, Unknown))
                found = hf_config.parse(whole | {field: junk}, "m")
                if isinstance(found, Model):
                    assert fit(Question(found, 80, 1024)).verdict in ("fits", "tight", "no")


@pytest.mark.parametrize(
    ("stated", "meant"),
    [
        ({}, "auto"),
        ({"kv_cache_quant_algo": "FP8"}, "fp8"),
        ({"quantization": {"kv_cache_quant_algo": "FP8"}}, "fp8"),
        ({"kv_cache_scheme": {"type": "float", "num_bits": 8, "dynamic": False}}, "fp8"),
        ({"kv_cache_scheme": {"type": "int", "num_bits": 8}}, "auto"),
        ({"kv_cache_quant_algo": "NVFP4"}, None),
        ({"kv_cache_scheme": {"type": "float", "num_bits": 4}}, None),
    ],
)
def test_modelopt_states_the_kv_cache(stated, meant):
    found = parse(quantization_config={"quant_method": "modelopt", "quant_algo": "NVFP4", **stated})
    assert getattr(found, "kv_cache_dtype", None) == meant


@pytest.mark.parametrize("factor", [float("inf"), float("nan"), 0, -2, "four"])
def test_no_scaling_keeps_the_models_maximum(factor):
    found = parse(rope_scaling={"type": "yarn", "factor": factor})
    assert found.architecture.max_position_embeddings == parse().architecture.max_position_embeddings
