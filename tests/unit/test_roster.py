"""Each thing that cannot be meant ends in one sentence: field, value, cure."""

import pytest

from roundhouse import cli, roster
from roundhouse.errors import UsageError


def agent(**changes):
    """Return a good agent with some fields changed; a change to None takes the field away."""
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


def test_a_good_roster_has_no_problems():
    assert list(roster.problems([agent(), agent(name="po", port=8002)])) == []


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"name": "status"}, ("agents[status].name is 'status'", "choose none of")),
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
        ({"enforce_eager": "yes"}, ("agents[dev].enforce_eager is 'yes'", "true or false")),
        ({"max_num_seqs": 0}, ("agents[dev].max_num_seqs is 0", "such as 16")),
        ({"models": []}, ("agents[dev].models is []", "best first")),
        ({"models": [{}]}, ("agents[dev].models[0] is {}", "owner/name")),
        ({"models": [{"model": "qwen"}]}, ("agents[dev].models[0].model is 'qwen'", "owner/name")),
        ({"models": [{"model": "a/b", "size": 7}]}, ("agents[dev].models[0].size is not a setting", "revision")),
        ({"models": [{"model": "a/b", "quantization": "q4_K_M"}]}, ("'q4_K_M', a llama.cpp file type", "write awq")),
        ({"models": [{"model": "a/b", "quantization": "int3"}]}, ("is 'int3': write one of awq", "leave it out")),
        ({"temperature": None}, ("agents[dev].temperature is missing",)),
        ({"VLLM_TOP_P": 1}, ("agents[dev].VLLM_TOP_P is not a setting", "top_p")),
    ],
)
def test_one_sentence_names_field_value_and_cure(changes, parts):
    (sentence,) = roster.problems([agent(**changes)])
    for part in parts:
        assert part in sentence
    assert sentence.endswith(".")


@pytest.mark.parametrize("nothing", [None, [], {}, "dev"])
def test_a_lost_roster_is_an_error(nothing):
    (sentence,) = roster.problems(nothing)
    assert "group_vars/all/agents.yml" in sentence


def test_a_port_or_a_name_twice():
    assert list(roster.problems([agent(), agent(name="po")])) == [
        "agents[po].port is 8001, which dev has already: give each agent a port of its own."
    ]
    assert list(roster.problems([agent(), agent(port=8002)])) == [
        "agents[dev].name is dev, which dev has already: give each agent a name of its own."
    ]


def test_all_problems_are_found_at_once():
    assert len(list(roster.problems([agent(port=1, top_p=7), agent(name="po", temperature=9)]))) == 3


def test_an_invalid_roster_is_wrong_usage():
    with pytest.raises(UsageError) as error:
        roster.require_valid([agent(port=1)])
    assert (error.value.exit_code, error.value.stage) == (2, "roster")


def test_agents_that_share_a_card_conflict():
    agents = [agent(name="a", gpus=[0, 1]), agent(name="b"), agent(name="c", gpus=[1]), agent(name="d", gpus=[2])]
    assert [roster.conflicts(one, agents) for one in agents] == [["b", "c"], ["a"], ["a"], []]


def test_every_word_of_the_command_line_is_reserved():
    assert set(cli.WORDS) <= set(roster.RESERVED)
    told = {word for word in cli.WORDS if f"\n  {word} " in cli.EPILOG}
    assert told == set(cli.WORDS) - {"ready"}
