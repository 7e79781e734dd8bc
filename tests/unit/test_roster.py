"""Each invalid setting is refused with one sentence: field, value, remedy."""

import pytest

from roundhouse.cli import command
from roundhouse.errors import UsageError
from roundhouse.roster import fields, validate
from roundhouse.schema.roster import WantedAgent


def agent(**changes):
    """Return a valid agent with some fields changed; None removes the field."""
    good = {
        "name": "dev",
        "models": [{"model": "Qwen/Qwen2.5-7B-Instruct"}],
        "port": 8001,
        "max_model_len": 16384,
        "gpu_memory_utilization": 0.9,
        "temperature": 0.3,
        "top_p": 0.95,
    } | changes
    return {key: value for key, value in good.items() if value is not None}


def test_each_setting_has_a_rule_and_a_type():
    assert set(fields.RULES) == set(WantedAgent.__annotations__)
    assert set(validate.REQUIRED) == WantedAgent.__required_keys__


def test_a_good_roster_has_no_problems():
    assert list(validate.problems([agent(), agent(name="po", port=8002)])) == []


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"name": "status"}, ("agents[status].name is 'status'", "choose a name other than")),
        ({"name": "Dev 1"}, ("agents[Dev 1].name is 'Dev 1'", "lower-case")),
        ({"port": 80}, ("agents[dev].port is 80", "from 1024 to 65535")),
        ({"port": "8001"}, ("agents[dev].port is '8001'", "whole number")),
        ({"port": True}, ("agents[dev].port is True", "whole number")),
        ({"max_model_len": 0}, ("agents[dev].max_model_len is 0", "16384")),
        ({"gpu_memory_utilization": 85}, ("agents[dev].gpu_memory_utilization is 85", "write 0.85")),
        ({"gpu_memory_utilization": 0}, ("agents[dev].gpu_memory_utilization is 0", "such as 0.85")),
        ({"gpu_memory_utilization": "85%"}, ("agents[dev].gpu_memory_utilization is '85%'", "such as 0.85")),
        ({"temperature": -1}, ("agents[dev].temperature is -1", "from 0 to 2")),
        ({"top_p": 0}, ("agents[dev].top_p is 0", "above 0")),
        ({"gpus": [-1]}, ("agents[dev].gpus is [-1]", "such as [0]")),
        ({"gpus": []}, ("agents[dev].gpus is []", "such as [0]")),
        ({"policy": "best"}, ("agents[dev].policy is 'best'", "best_fit, exact")),
        ({"give_up": ["port"]}, ("agents[dev].give_up is ['port']", "kv_cache_dtype, max_model_len, model")),
        ({"give_up": ["model", "model"]}, ("agents[dev].give_up", "each once")),
        ({"max_model_len_min": 0}, ("agents[dev].max_model_len_min is 0", "such as 8192")),
        ({"max_model_len_min": 32768}, ("agents[dev].max_model_len_min is 32768", "write at most 16384")),
        ({"max_model_len": 65536}, ("agents[dev].max_model_len is 65536", "at most 32768 (Qwen/Qwen2.5-7B-Instruct)")),
        ({"kv_cache_dtype": "q8_0"}, ("agents[dev].kv_cache_dtype is 'q8_0'", "auto", "fp8")),
        ({"max_num_batched_tokens": 0}, ("agents[dev].max_num_batched_tokens is 0", "such as 2048")),
        (
            {"max_num_seqs": 4096},
            ("agents[dev].max_num_seqs is 4096", "above max_num_batched_tokens: write at most 2048"),
        ),
        ({"models": [{"model": "Qwen/Qwen2.5-7B-Instruct-GGUF"}]}, ("models[0].model", "does not load GGUF", "AWQ")),
        ({"tool_call_parser": 1}, ("agents[dev].tool_call_parser is 1", "hermes")),
        ({"enable_prefix_caching": 1}, ("agents[dev].enable_prefix_caching is 1", "true or false")),
        ({"speculative_config": {"method": "tree"}}, ("speculative_config is {'method': 'tree'}", "ngram")),
        ({"speculative_config": {"method": "ngram"}}, ("num_speculative_tokens is None", "such as 4")),
        (
            {"speculative_config": {"method": "ngram", "num_speculative_tokens": 4, "tree": 1}},
            ("speculative_config.tree is not a setting", "prompt_lookup_max"),
        ),
        (
            {"speculative_config": {"method": "draft_model", "num_speculative_tokens": 4}},
            ("speculative_config is {}", "owner/name"),
        ),
        (
            {"speculative_config": {"method": "draft_model", "num_speculative_tokens": 4, "model": "own/draft"}},
            ("speculative_config.model is 'own/draft'", "not in the catalog", "policy: exact"),
        ),
        (
            {"models": [{"model": "Qwen/Qwen2.5-7B-Instruct-AWQ", "quantization": "gptq"}]},
            ("models[0].quantization is 'gptq'", "is awq: remove it"),
        ),
        (
            {"models": [{"model": "Qwen/Qwen2.5-7B-Instruct", "quantization": "fp8"}]},
            ("models[0].quantization is 'fp8'", "is 16-bit: write fp8_per_channel"),
        ),
        (
            {"models": [{"model": "Qwen/Qwen2.5-7B-Instruct-AWQ", "quantization": "fp8_per_channel"}]},
            ("models[0].quantization is 'fp8_per_channel'", "is awq"),
        ),
        ({"enforce_eager": "yes"}, ("agents[dev].enforce_eager is 'yes'", "true or false")),
        ({"max_num_seqs": 0}, ("agents[dev].max_num_seqs is 0", "such as 16")),
        ({"models": []}, ("agents[dev].models is []", "best first")),
        ({"models": [{}]}, ("agents[dev].models[0] is {}", "owner/name")),
        ({"models": [{"model": "qwen"}]}, ("agents[dev].models[0].model is 'qwen'", "owner/name")),
        ({"models": [{"model": "a/b", "size": 7}]}, ("agents[dev].models[0].size is not a setting", "revision")),
        (
            {"models": [{"model": "a/b", "quantize": "q4"}]},
            ("models[0].quantize is 'q4': write one of fp8, int8, gptq, awq, auto-round, or leave it out.",),
        ),
        ({"models": [{"model": "a/b", "quantize": ["awq"]}]}, ("models[0].quantize is ['awq']: write one of fp8",)),
        (
            {"models": [{"model": "a/b", "quantize": "awq", "quantization": "awq"}]},
            ("models[0].quantization is 'awq' beside quantize: remove it",),
        ),
        (
            {"models": [{"model": "Qwen/Qwen2.5-7B-Instruct-AWQ", "quantize": "awq"}]},
            ("models[0].quantize is 'awq', but Qwen/Qwen2.5-7B-Instruct-AWQ is awq: remove it, or name the 16-bit",),
        ),
        ({"models": [{"model": "a/b", "quantization": "q4_K_M"}]}, ("'q4_K_M', a llama.cpp file type", "write awq")),
        ({"models": [{"model": "a/b", "quantization": "int3"}]}, ("is 'int3': write one of awq", "leave it out")),
        ({"temperature": None}, ("agents[dev] lacks temperature. Each agent needs name, ",)),
        (dict.fromkeys(("port", "temperature", "top_p")), ("agents[dev] lacks port, temperature, top_p.",)),
        ({"VLLM_TOP_P": 1}, ("agents[dev].VLLM_TOP_P is not a setting", "top_p")),
        ({"temprature": 1}, ("agents[dev].temprature is not a setting", "Did you mean temperature?")),
        (
            {"models": [{"model": "a/b", "quantise": "fp8"}]},
            ("agents[dev].models[0].quantise was renamed to quantize",),
        ),
    ],
)
def test_one_sentence_names_field_value_and_remedy(changes, parts):
    (sentence,) = validate.problems([agent(**changes)])
    for part in parts:
        assert part in sentence
    assert sentence.endswith((".", "?"))


@pytest.mark.parametrize("nothing", [None, [], {}, "dev"])
def test_an_empty_roster_is_an_error(nothing):
    (sentence,) = validate.problems(nothing)
    assert "group_vars/all/agents.yml" in sentence


def test_a_model_of_unknown_maximum_accepts_any_length():
    models = [{"model": "Qwen/Qwen2.5-7B-Instruct"}, {"model": "own/model"}]
    assert list(validate.problems([agent(models=models, max_model_len=65536)])) == []


def test_a_duplicate_port_or_name_is_refused():
    assert list(validate.problems([agent(), agent(name="po")])) == [
        "agents[po].port is 8001, which dev also uses: give each agent a different port."
    ]
    assert list(validate.problems([agent(), agent(port=8002)])) == [
        "agents[0].name and agents[1].name are both dev (counted from 0): give each agent a different name."
    ]


def test_all_problems_are_found_at_once():
    assert len(list(validate.problems([agent(port=1, top_p=7), agent(name="po", temperature=9)]))) == 3


def test_an_invalid_roster_is_wrong_usage():
    with pytest.raises(UsageError) as error:
        validate.require_valid([agent(port=1)])
    assert (error.value.exit_code, error.value.code) == (2, "roster_invalid")


def test_every_word_of_the_command_line_is_reserved():
    assert sorted(fields.RESERVED) == sorted([*command.NAMES, *command.HIDDEN, *fields.RESERVED_BESIDES])
