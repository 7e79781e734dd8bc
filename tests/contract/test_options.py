"""The list of options that the planner checks `engine_options` with is that of the pinned vLLM's own parser."""

import pytest
from pinned_vllm import answer

from roundhouse.vllm import engine_options
from roundhouse.vllm.option_owners import COMPUTED, PASSED

BASE = {"model": "/srv/models/one", "served-model-name": "dev"}
VALUES = {"switch": True, "whole": 1, "number": 0.5, "text": "word", "mapping": {}, "text or mapping": "word"}


def value_of(option):
    """Return a value that the planner accepts."""
    one = option.get("choices", [VALUES[option["kind"]]])[0]
    return [one] if option.get("many") else one


PASSABLE = {name: value_of(engine_options.known()[name]) for name in (*COMPUTED, *PASSED)}
OFF = {name: False for name, value in PASSABLE.items() if value is True}
SMUGGLED = {"numa-bind-cpus": ["0", "--trust-remote-code"]}


@pytest.fixture(scope="module")
def parsed():
    """Return vLLM's values of all options, of all false switches, and of an item that is an option."""
    configs = [engine_options.as_config(options) for options in (PASSABLE, OFF)]
    smuggled = SMUGGLED | {"no-trust-remote-code": False}  # the parser's answer has the names of a configuration
    return answer("parse_flags.py", [BASE | config for config in (*configs, smuggled)])


def test_the_list_of_options_is_that_of_the_pinned_vllm():
    assert answer("list_options.py") == engine_options.known(), "run tests/contract/write_options.py"


def test_vllm_parses_each_option_that_a_roster_may_pass_as_it_was_written(parsed):
    assert list(engine_options.problems("agents[dev].engine_options", PASSABLE)) == []
    assert {name: parsed[0][name] for name in PASSABLE} == PASSABLE


def test_vllm_parses_each_false_switch_as_false(parsed):
    config = engine_options.as_config(OFF)
    assert {name: parsed[1][name.removeprefix("no-")] for name in config} == dict.fromkeys(config, False)
    # A switch without no-NAME is off unless it is set.
    assert {name for name in OFF if f"no-{name}" not in config} == {"aggregate-engine-logging"}


def test_an_item_with_a_leading_hyphen_is_another_option_for_vllm(parsed):
    assert parsed[2]["trust-remote-code"] is True
    assert list(engine_options.problems("engine_options", SMUGGLED))
