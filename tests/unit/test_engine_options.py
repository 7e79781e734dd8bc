"""`engine_options`: which of vLLM's options a roster may pass, the sentences for the others, and their way to vLLM."""

import pytest
import yaml
from test_advanced import AGENT, planned
from test_fuzz_roster import render
from test_plan_build import build, host, written

from roundhouse.plan import decide, measured, report
from roundhouse.roster import fields, validate
from roundhouse.switch import next_run
from roundhouse.vllm import engine_options, option_owners
from roundhouse.vllm.formats import KV_DTYPE_BYTES

AT = "agents[dev].engine_options"


def problem(options):
    """Return the only sentence about the options."""
    (sentence,) = validate.problems([AGENT | {"engine_options": options}])
    return sentence


def test_each_option_of_vllm_is_in_one_row():
    rows = [
        *option_owners.SETTINGS,
        *option_owners.COMPUTED,
        *option_owners.PASSED,
        *option_owners.REFUSED,
    ]
    assert sorted(rows) == sorted(engine_options.known())


def test_each_setting_of_the_table_is_one_of_the_roster():
    words = {word for setting in option_owners.SETTINGS.values() for word in setting.split(" and ")}
    assert {word.partition("[")[0] for word in words} <= {*fields.RULES}


def test_each_option_that_a_plan_writes_is_refused():
    roster = [AGENT | {"tool_call_parser": "hermes", "kv_cache_dtype": "fp8", "max_num_seqs": 4}]
    made = [*build(roster, host(23.5))["agents"], *build(roster, accelerator="cpu")["agents"]]
    names = {name for agent in made for name in agent["config"]}
    assert len(names) > 15
    assert {name for name in names if engine_options.owner(name.removeprefix("no-")) is None} == set()


def test_the_list_has_the_formats_of_the_kv_cache():
    assert set(KV_DTYPE_BYTES) <= set(engine_options.known()["kv-cache-dtype"]["choices"])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["seed"], f"{AT} is ['seed']: write a mapping of vLLM's options, such as seed: 1."),
        ({"max-logprob": 5}, f"{AT}.max-logprob is not an option of vLLM 0.32. Did you mean max-logprobs?"),
        ({"max_logprobs": 5}, f"{AT}.max_logprobs is not an option of vLLM 0.32. Write max-logprobs."),
        ({"--seed": 5}, f"{AT}.--seed is not an option of vLLM 0.32. Write seed."),
        (
            {"no-async-scheduling": True},
            f"{AT}.no-async-scheduling is not an option of vLLM 0.32. Write async-scheduling: false.",
        ),
        ({1: 2}, f"{AT}.1 is not an option of vLLM 0.32. See `vllm serve --help`"),
        ({"seed": "one"}, f"{AT}.seed is 'one': write a whole number."),
        ({"seed": True}, f"{AT}.seed is True: write a whole number."),
        ({"watermark": float("inf")}, f"{AT}.watermark is inf: write a number from 0."),
        ({"cpu-offload-gb": -4}, f"{AT}.cpu-offload-gb is -4: write a number from 0."),
        ({"async-scheduling": "false"}, f"{AT}.async-scheduling is 'false': write true or false."),
        ({"scheduling-policy": "lifo"}, f"{AT}.scheduling-policy is 'lifo': write one of fcfs, priority."),
        ({"seed": None}, f"{AT}.seed is None: write a whole number."),
        ({"numa-bind-nodes": 0}, f"{AT}.numa-bind-nodes is 0: write a list."),
        ({"numa-bind-nodes": ["a"]}, f"{AT}.numa-bind-nodes is ['a']: write a list; each item is a whole number."),
        (
            {"default-chat-template-kwargs": "no"},
            f"{AT}.default-chat-template-kwargs is 'no': write a mapping.",
        ),
        (
            {"structured-outputs-config": {"backnd": "auto"}},
            f"{AT}.structured-outputs-config is {{'backnd': 'auto'}}: write only the keys backend, disable_",
        ),
        (
            {"default-chat-template-kwargs": {"x": float("nan")}},
            f"{AT}.default-chat-template-kwargs is {{'x': nan}}: write strings, numbers and true or false",
        ),
        (
            {"max-model-len": 4096},
            f"{AT}.max-model-len is 4096, but the plan sets it from max_model_len: remove it, and write max_model_len.",
        ),
        ({"port": 9}, f"{AT}.port is 9, but the plan sets it from port: remove it, and write port."),
        (
            {"kv-cache-memory-bytes": 9},
            "but the plan sets it from gpu_memory_utilization: remove it, and write gpu_memory_utilization.",
        ),
        ({"host": "192.0.2.1"}, "an engine listens only on loopback."),
        ({"middleware": ["m.M"]}, "it runs code from outside vLLM, and Roundhouse runs only its own."),
        ({"kv-offloading-size": 8}, "it takes memory of the host or a second copy on the card"),
        ({"mamba-ssm-cache-dtype": "float16"}, "it changes the size of the KV cache or of a sequence's state"),
    ],
)
def test_one_sentence_names_option_value_and_remedy(options, sentence):
    assert sentence in problem(options)


@pytest.mark.parametrize("name", ["api-key", "hf-token", "watermark-config"])
def test_a_secret_is_not_printed(name):
    assert "s3cret" not in problem({name: "s3cret"})


def test_a_value_cannot_set_a_second_option_of_vllm():
    for options in (
        {"reasoning-parser": "--trust-remote-code"},
        {"numa-bind-cpus": ["0", "--trust-remote-code"]},
        {"reasoning-parser": "qwen3\n--trust-remote-code"},
        {"structured-outputs-config": {"reasoning_parser_plugin": "/srv/plugin.py"}},
    ):
        assert problem(options)


def test_a_mapping_that_contains_itself_is_a_sentence():
    endless: dict[str, object] = {}
    endless["again"] = endless
    assert "in at most 8 levels" in problem({"default-chat-template-kwargs": endless})


def test_the_options_reach_vllms_configuration_the_plan_and_its_text():
    options = {"max-logprobs": 50, "async-scheduling": False, "aggregate-engine-logging": False}
    roster = [AGENT | {"engine_options": options | {"default-chat-template-kwargs": {"enable_thinking": False}}}]
    plan = build(roster, host(23.5))
    (agent,) = plan["agents"]
    config = yaml.safe_load(render("vllm.yaml.j2", plan, agent))
    assert config == agent["config"]
    assert (config["max-logprobs"], config["no-async-scheduling"]) == (50, True)
    assert config["default-chat-template-kwargs"] == {"enable_thinking": False}
    assert "aggregate-engine-logging" not in config
    text = report.text(plan, [])
    assert "engine options: max-logprobs 50, async-scheduling false, aggregate-engine-logging false, default" in text
    assert next_run.differences(build([AGENT], host(23.5)), plan)[0] == "dev: max-logprobs: none -> 50"


def test_weights_in_the_hosts_memory_leave_the_card_to_the_kv_cache():
    plain, offloaded = planned({}), planned({"engine_options": {"cpu-offload-gb": 4}})
    assert plain["fit"]["weights_gib_per_rank"] - offloaded["fit"]["weights_gib_per_rank"] == pytest.approx(4)
    assert offloaded["fit"]["kv_gib_per_rank"] - plain["fit"]["kv_gib_per_rank"] == pytest.approx(4)


def test_weights_in_the_hosts_memory_free_nothing_on_a_card_that_shares_it():
    (card,) = host(100.0).cards
    shared = decide.Host((card._replace(system_gib=8.0),))
    share = {"gpu_memory_utilization": 0.5}
    plain = planned(share, shared)
    offloaded = planned(share | {"engine_options": {"cpu-offload-gb": 4}}, shared)
    assert offloaded["fit"]["weights_gib_per_rank"] == plain["fit"]["weights_gib_per_rank"]


def test_a_model_without_its_image_encoder_is_planned_as_such():
    model = {"models": [{"model": "Qwen/Qwen3.5-9B"}], "max_model_len": 4096}
    with_images = planned(model, host(31.4))
    text_only = planned(model | {"engine_options": {"language-model-only": True}}, host(31.4))
    assert text_only["fit"]["weights_gib_per_rank"] < with_images["fit"]["weights_gib_per_rank"]


def test_only_options_that_the_fit_computes_are_planned_again():
    before = build([AGENT], host(23.5))
    again = host(23.5, deployed=written(before))

    def fingerprint(options):
        return build([AGENT | {"engine_options": options}], again)["agents"][0]["fingerprint"]

    assert fingerprint({"seed": 1}) == before["agents"][0]["fingerprint"]
    assert fingerprint({"cpu-offload-gb": 1}) != before["agents"][0]["fingerprint"]


def test_a_measurement_with_fewer_weights_on_the_card_is_not_taken_for_one_with_all():
    lines = ["Model loading took 5.0 GiB memory", "Available KV cache memory: 9.0 GiB"]
    plain, offloaded = planned({}), planned({"engine_options": {"cpu-offload-gb": 4}})
    assert measured.entry(offloaded, lines) is None
    kept = measured.entry(plain, lines)
    assert measured.of(plain, [kept]) == kept
    assert measured.of(offloaded, [kept]) is None
