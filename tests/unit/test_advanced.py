"""The guide's advanced settings in a whole plan: two cards, draft models, and the user's own quantized model."""

import pytest
from test_plan_build import build, host

AGENT = {
    "name": "dev",
    "port": 8001,
    "models": [{"model": "Qwen/Qwen2.5-14B-Instruct-AWQ"}],
    "max_model_len": 8192,
    "gpu_memory_utilization": 0.9,
    "temperature": 0.3,
    "top_p": 0.95,
}
NGRAM = {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 4, "prompt_lookup_min": 2}
# The Qwen2 7B that the guide's last section puts into ./models/qwen-gptq.
OWN = {
    **{"architectures": ["Qwen2ForCausalLM"], "hidden_size": 3584, "num_hidden_layers": 28, "vocab_size": 152064},
    **{"num_attention_heads": 28, "num_key_value_heads": 4, "intermediate_size": 18944, "tie_word_embeddings": False},
    "max_position_embeddings": 32768,
}
GPTQ = {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}}


def planned(more, on=None):
    """Return the only agent of a plan, which must fit."""
    (agent,) = build([AGENT | more], on or host(23.5))["agents"]
    assert agent["verdict"] == "fits", agent["refused"]
    return agent


def test_two_cards_share_a_model_that_neither_holds():
    setting = {"models": [{"model": "Qwen/Qwen2.5-32B-Instruct-AWQ"}], "gpus": [0, 1]}
    (alone,) = build([AGENT | setting | {"gpus": [0], "policy": "exact"}], host(15.5, 2))["agents"]
    assert alone["verdict"] == "no"
    both = planned(setting, host(15.5, 2))
    assert both["config"]["tensor-parallel-size"] == 2
    assert both["environment"]["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert both["fit"]["weights_gib_per_rank"] < 0.55 * alone["fit"]["weights_gib_per_rank"]


def test_an_ngram_draft_takes_no_memory_and_is_handed_to_the_engine():
    plain, drafting = planned({}), planned({"speculative_config": NGRAM})
    assert drafting["config"]["speculative-config"] == NGRAM
    assert drafting["fit"]["weights_gib_per_rank"] == plain["fit"]["weights_gib_per_rank"]
    assert drafting["fit"]["kv_bytes_per_token_per_rank"] == plain["fit"]["kv_bytes_per_token_per_rank"]
    assert drafting["fit"]["decode_ceiling_tokens_per_second"] is None  # one pass generates several tokens


def test_a_draft_models_weights_and_cache_are_counted():
    setting = {"models": [{"model": "Qwen/Qwen3-14B-AWQ"}]}
    draft = {"method": "draft_model", "model": "Qwen/Qwen3-0.6B", "num_speculative_tokens": 3}
    plain, drafting = planned(setting), planned(setting | {"speculative_config": draft})
    assert drafting["config"]["speculative-config"]["model"] == "/srv/m/Qwen/Qwen3-0.6B/main"
    # 751.6 million parameters of 16 bits, and keys and values of 28 layers with 8 heads of size 128.
    more = drafting["fit"]["weights_gib_per_rank"] - plain["fit"]["weights_gib_per_rank"]
    assert more == pytest.approx(1.11, abs=0.3)
    grown = drafting["fit"]["kv_bytes_per_token_per_rank"] - plain["fit"]["kv_bytes_per_token_per_rank"]
    assert grown == 2 * 28 * 8 * 128 * 2


def test_a_users_quantized_folder_counts_as_its_config_states():
    own = {"models": [{"model": "/srv/models/qwen-gptq"}]}
    quantized = planned(own, host(15.5, configs={"/srv/models/qwen-gptq": OWN | GPTQ}))
    whole = planned(own, host(23.5, configs={"/srv/models/qwen-gptq": OWN}))
    assert quantized["config"]["model"] == "/srv/models/qwen-gptq"
    assert quantized["fit"]["weights_gib_per_rank"] == pytest.approx(5.2, abs=0.15)
    assert whole["fit"]["weights_gib_per_rank"] == pytest.approx(14.2, abs=0.15)


def test_a_folder_that_a_unit_would_not_see_is_refused_by_name():
    with pytest.raises(Exception, match="a folder that systemd hides from the engine: move it below /srv"):
        build([AGENT | {"models": [{"model": "/home/me/models/qwen-gptq"}]}], host())
