"""Parameters of each kind of architecture equal the model cards, and the KV cache is that of vLLM's source and logs."""

import pytest

from roundhouse.catalog import hf_config, model_families
from roundhouse.fit import kv_cache, sizes
from roundhouse.fit.estimate import NO, Question, fit
from roundhouse.fit.kv_cache import Settings
from roundhouse.util.units import GIB, MIB
from roundhouse.vllm import formats

DEEPSEEK_V2_LITE = {
    "architectures": ["DeepseekV2ForCausalLM"],
    **{"hidden_size": 2048, "num_hidden_layers": 27, "num_attention_heads": 16, "num_key_value_heads": 16},
    **{"q_lora_rank": None, "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128},
    **{"intermediate_size": 10944, "moe_intermediate_size": 1408, "n_routed_experts": 64, "num_experts_per_tok": 6},
    **{"n_shared_experts": 2, "first_k_dense_replace": 1, "vocab_size": 102400, "max_position_embeddings": 163840},
}
NEMOTRON_3_NANO = {
    "architectures": ["NemotronHForCausalLM"],
    **{"hidden_size": 2688, "num_hidden_layers": 52, "num_attention_heads": 32, "num_key_value_heads": 2},
    **{"head_dim": 128, "hybrid_override_pattern": "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME"},
    **{"intermediate_size": 1856, "moe_intermediate_size": 1856, "moe_shared_expert_intermediate_size": 3712},
    **{"n_routed_experts": 128, "num_experts_per_tok": 6, "n_shared_experts": 1, "mamba_num_heads": 64},
    **{"mamba_head_dim": 64, "n_groups": 8, "ssm_state_size": 128, "conv_kernel": 4, "vocab_size": 131072},
}


_MIXED = [("attention", "fp8"), ("recurrent", "bf16"), ("experts", "bf16"), ("shared", "bf16")]


def catalog(name, form="bf16"):
    return model_families.in_format(name, model_families.ARCHITECTURES[name], form)


def pool(name, **options):
    return kv_cache.pool(model_families.ARCHITECTURES[name], Settings(**options))


@pytest.mark.parametrize(
    ("name", "billions"),
    # The sums of the model cards, without the layers of multi-token prediction.
    [
        *[("Qwen3.5-0.8B", 0.853), ("Qwen3.5-9B", 9.41), ("Qwen3.5-27B", 27.36), ("Qwen3.5-35B-A3B", 35.11)],
        *[("Qwen3-Next-80B-A3B", 79.67), ("Qwen3-235B-A22B", 235.09), ("Qwen3-Coder-480B-A35B", 480.15)],
        *[("MiniMax-M2", 228.7), ("gemma-4-31B", 31.27), ("Qwen3-VL-8B", 8.77), ("Qwen2.5-VL-7B", 8.29)],
    ],
)
def test_parameters_of_the_catalog(name, billions):
    model = catalog(name)
    assert sizes.weights(model.architecture, model.form, 1).disk / 2e9 == pytest.approx(billions, rel=0.001)


@pytest.mark.parametrize(("config", "parameters"), [(DEEPSEEK_V2_LITE, 15_706_484_224), (NEMOTRON_3_NANO, 31.58e9)])
def test_parameters_of_a_config(config, parameters):
    model = hf_config.parse(config, "m")
    assert sizes.weights(model.architecture, model.form, 1).disk == pytest.approx(2 * parameters, rel=0.0002)


def test_draft_layers_are_those_of_the_checkpoint():
    # Qwen3.5-27B's 16-bit checkpoint has 55.6 GB: 27.36 billion parameters and 0.42 of multi-token prediction.
    model = catalog("Qwen3.5-27B")
    drafting = sizes.draft_bytes(model.architecture, model.form, 1)
    assert sizes.weights(model.architecture, model.form, 1).disk + drafting == pytest.approx(55.56e9, rel=0.001)
    plain = Question(model, 94.0, 8192)
    assert fit(plain._replace(mtp=True, drafts=3)).weights_gib_per_rank > fit(plain).weights_gib_per_rank + 0.7


def test_states_of_gated_delta_net():
    # 48 layers x (48 heads x 128 x 128 x 4 bytes + 10240 x 3 x 2 bytes): "about 150 MB for a request".
    states = model_families.ARCHITECTURES["Qwen3.8-27B"].recurrent
    assert states.layers * kv_cache.state_bytes(states, 1) / MIB == pytest.approx(146.8, abs=0.1)
    assert kv_cache.state_bytes(states, 1, drafts=3) - kv_cache.state_bytes(states, 1) == 10240 * 3 * 2
    assert kv_cache.bytes_per_token(model_families.ARCHITECTURES["Qwen3.8-27B"], "auto", 1) == 64 * 1024


@pytest.mark.parametrize(
    ("name", "options", "kv_gib", "length", "tokens"),
    [
        # vLLM 0.24, 8-bit KV cache: blocks of 2096 tokens, 63 of attention and 3 x 2 of states for a request.
        ("Qwen3.6-35B-A3B", {"dtype": "fp8"}, 5.98, 131072, 567978),
        # vLLM 0.29 with --block-size 128: blocks of 1152 tokens.
        ("Qwen3.6-35B-A3B", {"block_tokens": 128}, 4.898, 32768, 207842),
        # vLLM 0.25: 18 layers with all tokens, and 18 with a window of 128.
        ("gpt-oss-120b", {"in_flight_tokens": 1024}, 10.52, 131072, 303646),
    ],
)
def test_tokens_of_logged_hybrid_models(name, options, kv_gib, length, tokens):
    assert pool(name, **options).tokens(kv_gib * GIB, length) == pytest.approx(tokens, rel=0.0005)


def test_the_page_of_the_attention_holds_a_state():
    for ranks in (1, 2, 4):
        for dtype in ("auto", "fp8"):
            shape = model_families.ARCHITECTURES["Qwen3.8-27B"]
            found = kv_cache.pool(shape, Settings(dtype=dtype, ranks=ranks))
            page = found.block_bytes / 16  # layers of a group
            state = kv_cache.state_bytes(shape.recurrent, ranks)
            assert state <= page < state + 16 * page / found.block_tokens
            assert (found.full_groups, found.state_groups, found.state_blocks) == (1, 3, 2)


def test_without_prefix_caching_a_sequence_keeps_one_state():
    with_it, without = (pool("Qwen3.8-27B", shared_prefixes=shared) for shared in (True, False))
    assert with_it.needed(4096) - without.needed(4096) == 3 * with_it.block_bytes


def test_a_window_bounds_a_layers_keys():
    # gpt-oss-20b: 12 layers grow with the request, and 12 stop at the window and the tokens in flight.
    found = pool("gpt-oss-20b", in_flight_tokens=2048)
    block = 12 * 16 * 2 * 8 * 64 * 2
    assert found.block_bytes == block
    assert found.needed(131072) == block * (131072 // 16 + -(-(127 + 2048) // 16) + 1)
    assert found.needed(1024) == block * (64 + 64 + 1)


def test_a_latent_vector_is_whole_on_each_rank():
    shape = hf_config.parse(DEEPSEEK_V2_LITE, "m").architecture
    for ranks in (1, 2, 4):
        assert kv_cache.bytes_per_token(shape, "auto", ranks) == 27 * (512 + 64) * 2


def test_mxfp4_is_padded_except_on_hopper():
    model = catalog("gpt-oss-20b", "mxfp4")
    padded = sizes.weights(model.architecture, formats.loaded(model.form, (8, 0)), 1).resident / GIB
    assert padded == pytest.approx(13.72, rel=0.01)  # start log d45
    assert sizes.weights(model.architecture, formats.loaded(model.form, (9, 0)), 1).resident / GIB < padded - 0.8
    assert sizes.weights(model.architecture, model.form, 1).disk == pytest.approx(13.76e9, rel=0.001)


def test_a_part_in_another_format():
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        **{"hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28, "num_hidden_layers": 28},
        **{"num_key_value_heads": 4, "vocab_size": 152064},
    }
    group = {"weights": {"num_bits": 4, "type": "int", "symmetric": True, "group_size": 128}, "targets": ["Linear"]}
    head = {"weights": {"num_bits": 8, "type": "int", "strategy": "channel"}, "targets": ["re:.*lm_head"]}
    stated = {"quant_method": "compressed-tensors", "config_groups": {"a": head, "b": group}}
    whole = hf_config.parse(config | {"quantization_config": stated}, "m")
    assert whole.form.name == "w4a16"
    assert [(role, form.name) for role, form in whole.parts] == [("lm_head", "w8a16")]
    kept = {**stated, "ignore": ["lm_head", "re:.*self_attn.*"], "config_groups": {"b": group}}
    model = hf_config.parse(config | {"quantization_config": kept}, "m")
    assert [(role, form.name) for role, form in model.parts] == [("attention", "bf16")]
    sixteen = 28 * (3584 * 36 * 128 + 28 * 128 * 3584)
    whole_bytes = sizes.weights(model.architecture, model.form, 1).disk
    parts_bytes = sizes.weights(model.architecture, model.form, 1, model.parts).disk
    assert parts_bytes - whole_bytes == pytest.approx(sixteen * (16 - 4 - 16 / 128) / 8, rel=1e-6)


@pytest.mark.parametrize(
    ("quantization", "form", "parts"),
    [
        ({"quant_method": "auto-round", "bits": 4, "group_size": 64, "sym": True}, "w4a16", []),
        ({"quant_method": "auto-round", "bits": 4, "group_size": 128, "sym": False}, "awq", []),
        (
            {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head", "*self_attn*"]},
            "nvfp4",
            [("attention", "bf16")],
        ),
        (
            {
                "quant_method": "modelopt",
                "quantized_layers": {
                    "model.layers.0.mlp.gate_proj": {"quant_algo": "NVFP4"},
                    "model.layers.0.self_attn.q_proj": {"quant_algo": "FP8"},
                    "lm_head": {"quant_algo": "W4A16_NVFP4"},
                },
            },
            "nvfp4",
            [
                ("attention", "fp8"),
                ("recurrent", "bf16"),
                ("experts", "bf16"),
                ("shared", "bf16"),
                ("lm_head", "nvfp4"),
            ],
        ),
        (
            {"quant_method": "fp8", "weight_block_size": [128, 128], "modules_to_not_convert": ["lm_head"]},
            "fp8-block",
            [],
        ),
    ],
)
def test_formats_of_checkpoints(quantization, form, parts):
    config = {"architectures": ["Qwen3ForCausalLM"], "hidden_size": 2560, "intermediate_size": 9728, "head_dim": 128}
    config |= {"num_attention_heads": 32, "num_hidden_layers": 36, "num_key_value_heads": 8, "vocab_size": 151936}
    found = hf_config.parse(config | {"quantization_config": quantization}, "m")
    assert found.form.name == form
    assert [(role, each.name) for role, each in found.parts] == parts


def test_adapters_take_their_slots():
    # An RTX 4090 with one slot of rank 16 stated 7.63 GiB (d20).
    asked = Question(catalog("Qwen3-4B"), 23.52, 8192, engine=(0, 27), adapters=1)
    assert fit(asked).weights_gib_per_rank == pytest.approx(7.63, rel=0.003)
    without, with_one = (
        next(term.gib for term in fit(asked._replace(adapters=slots)).terms if term.name == "cuda_graphs")
        for slots in (0, 1)
    )
    assert with_one == 2 * without


def test_an_offload_and_a_pipeline_leave_less_on_a_card():
    asked = Question(catalog("Qwen2.5-32B", "awq"), 23.52, 8192)
    whole = fit(asked)
    assert fit(asked._replace(cpu_offload_gib=4)).weights_gib_per_rank == pytest.approx(whole.weights_gib_per_rank - 4)
    half = fit(asked._replace(pipeline_parallel_size=2))
    # A stage has half of the layers, and one of the two tables.
    assert half.weights_gib_per_rank == pytest.approx(whole.weights_gib_per_rank / 2, rel=0.02)
    assert half.kv_bytes_per_token_per_rank == whole.kv_bytes_per_token_per_rank // 2


def test_ranks_divide_the_heads_of_states():
    found = fit(Question(catalog("Qwen3.8-27B", "nvfp4"), 31.4, 8192, tensor_parallel_size=32))
    assert found.verdict == NO
    assert "does not divide" in found.reasons[0]


def test_an_image_encoder_is_loaded_unless_it_is_left_out():
    asked = Question(catalog("Qwen3.6-35B-A3B", "nvfp4"), 31.84, 32768)
    assert fit(asked).weights_gib_per_rank - fit(asked._replace(images=False)).weights_gib_per_rank == pytest.approx(
        0.83, abs=0.03
    )


def test_a_card_without_memory_of_its_own_has_small_batches():
    asked = Question(catalog("Qwen3-30B-A3B", "fp8-block"), 119.7, 32768, gpu_memory_utilization=0.3)
    assert asked.batch == (1024, 8192)
    assert asked._replace(unified=True).batch == asked._replace(system_gib=8.6).batch == (256, 2048)


def test_less_free_memory_is_never_better():
    asked = Question(catalog("Qwen2.5-7B", "awq"), 15.5, 8192, gpu_memory_utilization=0.7)
    assert fit(asked._replace(free_gib=15.4)).verdict == fit(asked).verdict == "fits"
    assert fit(asked._replace(free_gib=15.0)).verdict == "tight"
    assert fit(asked._replace(free_gib=10.0)).verdict == NO
