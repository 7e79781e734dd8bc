"""The pinned vLLM parses every configuration that a plan can contain to the intended values.

The parser is that of the lab's engine (pinned_vllm.py).
"""

import pytest
import yaml
from pinned_vllm import answer

from roundhouse.catalog.gpus import HostCard
from roundhouse.paths import CHECKOUT as ROOT
from roundhouse.plan import build, decide
from roundhouse.roster import fields

# Every setting of a roster, with each method of speculative decoding once.
EVERYTHING = {
    "name": "every-option",
    "models": [{"model": "Qwen/Qwen2.5-7B-Instruct", "revision": "v1", "quantization": "fp8_per_channel"}],
    "port": 8003,
    "max_model_len": 1024,
    "gpu_memory_utilization": 0.92,
    "temperature": 0,
    "top_p": 1.0,
    "gpus": [0, 1],
    "kv_cache_dtype": "fp8",
    "max_num_seqs": 4,
    "max_num_batched_tokens": 1024,
    "enforce_eager": True,
    "enable_prefix_caching": False,
    "tool_call_parser": "hermes",
    "system_prompt": "You review code.",
    "top_k": 20,
    "min_p": 0.1,
    "repetition_penalty": 1.1,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "thinking": False,
    "max_tokens": 512,
    "speculative_config": {
        "method": "ngram",
        "num_speculative_tokens": 4,
        "prompt_lookup_max": 4,
        "prompt_lookup_min": 2,
    },
    "engine_options": {
        "max-logprobs": 50,
        "async-scheduling": False,
        "default-chat-template-kwargs": {"enable_thinking": False},
    },
}
DRAFTED = EVERYTHING | {
    "name": "drafted",
    "models": [{"model": "Qwen/Qwen3-8B"}],
    "port": 8004,
    "enable_prefix_caching": True,
    "speculative_config": {"method": "draft_model", "model": "Qwen/Qwen3-0.6B", "num_speculative_tokens": 3},
}


def understood(configs):
    """Return the results of vLLM's own parser for the configurations."""
    return answer("parse_flags.py", configs)


@pytest.fixture(scope="module")
def agents():
    """Return the planned agents of the shipped roster on several cards, and two with every option."""
    roster = yaml.safe_load((ROOT / "group_vars/all/agents.yml").read_text())["agents"]
    settings = build.Settings("cuda", "/e", "/m", 1)
    made = []
    for gib, count, capability in ((15.5, 1, (12, 0)), (15.5, 2, (12, 0)), (79.18, 1, (9, 0))):
        cards = tuple(HostCard(number, "a card", gib, capability, None) for number in range(count))
        wanted = [*roster, EVERYTHING, DRAFTED] if count == 2 else roster
        made += build.build(wanted, settings, decide.Host(cards))["agents"]
    assert {*fields.RULES} - {*EVERYTHING} == {"description", "policy", "give_up", "max_model_len_min"}
    return made


def test_vllm_parses_each_configuration_to_the_intended_values(agents):
    configs = [agent["config"] for agent in agents]
    for config, parsed in zip(configs, understood(configs), strict=True):
        # These options take several values, and the plan writes one.
        meant = config | {name: [config[name]] for name in ("served-model-name", "middleware")}
        assert {name: parsed[name] for name in config if not name.startswith("no-")} == {
            name: value for name, value in meant.items() if not name.startswith("no-")
        }
        for name in config:
            assert not name.startswith("no-") or parsed[name.removeprefix("no-")] is False


def test_vllm_refuses_an_option_that_it_does_not_have(agents):
    assert understood([agents[0]["config"] | {"max-model-length": 1}]) == [{"exit": 2}]
