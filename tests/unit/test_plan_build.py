"""The plan of a roster on a host: the content of the files, and the decisions that a second run keeps."""

import json

import gpu_facts
import pytest
import yaml

from roundhouse.catalog.gpus import HostCard
from roundhouse.errors import UsageError
from roundhouse.paths import CHECKOUT as ROOT
from roundhouse.plan import build as plan_build
from roundhouse.plan import decide
from roundhouse.plan import deployed as plan_deployed
from roundhouse.schema.plan import AgentBase, Decision, FitRow


def shipped():
    return yaml.safe_load((ROOT / "group_vars/all/agents.yml").read_text())["agents"]


def host(gib=15.5, count=1, **facts):
    cards = tuple(HostCard(number, "a card", gib, (12, 0), 448.0) for number in range(count))
    return decide.Host(cards, **facts)


def build(agents=None, on=None, accelerator="cuda"):
    settings = plan_build.Settings(accelerator, "/opt/e", "/srv/m", 900)
    return plan_build.build(agents or shipped(), settings, on or host())


def written(made):
    """Return a plan after a round trip through plan.json."""
    return json.loads(json.dumps(made))


def test_the_shipped_roster_is_the_users_roster():
    wanted = {
        "architect": (8000, 32768, 0.1, 0.95, 0.85, "Qwen/Qwen2.5-32B-Instruct"),
        "dev": (8001, 32768, 0.3, 0.95, 0.95, "Qwen/Qwen2.5-Coder-32B-Instruct"),
        "po": (8002, 16384, 0.5, 0.9, 0.70, "Qwen/Qwen2.5-7B-Instruct"),
    }
    fields = ("port", "max_model_len", "temperature", "top_p", "gpu_memory_utilization")
    assert {
        agent["name"]: (*(agent[field] for field in fields), agent["models"][0]["model"]) for agent in shipped()
    } == wanted


@pytest.mark.parametrize(("gib", "count"), [(15.5, 1), (23.52, 1), (15.5, 2), (44.4, 1), (79.18, 1)])
def test_the_shipped_roster_has_something_for_each_agent(gib, count):
    made = build(on=host(gib, count))
    assert [agent["verdict"] for agent in made["agents"]] == ["fits"] * 3
    assert (made["problems"], made["waiting"]) == ([], [])
    for agent in made["agents"]:
        assert agent["max_model_len"] <= agent["fit"]["kv_tokens"]
        assert agent["config"]["max-model-len"] == agent["max_model_len"]
        assert agent["config"]["gpu-memory-utilization"] == agent["gpu_memory_utilization"]


@pytest.mark.parametrize(("accelerator", "on"), [("cuda", host()), ("cuda", decide.Host()), ("cpu", decide.Host())])
def test_an_agent_has_the_keys_of_its_schema(accelerator, on):
    for agent in build(on=on, accelerator=accelerator)["agents"]:
        assert set(agent) == set(AgentBase.__annotations__)
        assert [name for name in agent if name in Decision.__annotations__] == [*Decision.__annotations__]
        assert agent["fit"] is None or set(agent["fit"]) == set(FitRow.__annotations__)


def test_a_kept_decision_is_written_in_the_same_order():
    first = build()
    assert json.dumps(build(on=host(deployed=written(first)))) == json.dumps(first)


def test_on_16_gb_the_32b_is_refused_in_gib():
    (architect, dev, _) = build()["agents"]
    assert architect["model"] == "Qwen/Qwen2.5-14B-Instruct-AWQ"
    assert dev["model"] == "Qwen/Qwen2.5-Coder-14B-Instruct-AWQ"
    assert "Qwen2.5-32B-Instruct-AWQ (awq): no. The weights take 18.14 GiB" in architect["refused"][1]
    assert architect["given_up"][0]["setting"] == "model"
    assert architect["model_path"] == "/srv/m/Qwen/Qwen2.5-14B-Instruct-AWQ/main"


def test_agents_of_one_card_are_ordered_and_conflict():
    by_name = {agent["name"]: agent for agent in build()["agents"]}
    assert by_name["po"]["conflicts"] == ["architect", "dev"]
    assert [by_name[name]["after"] for name in ("architect", "dev", "po")] == [[], ["architect"], ["architect", "dev"]]


def test_agents_that_share_a_card_conflict():
    wanted = ([0, 1], [0], [1], [2])
    agents = [shipped()[2] | {"name": f"a{at}", "port": 9000 + at, "gpus": gpus} for at, gpus in enumerate(wanted)]
    made = build(agents, host(15.5, 3))["agents"]
    assert [agent["conflicts"] for agent in made] == [["a1", "a2"], ["a0"], ["a0"], []]


def test_agents_of_two_cards_run_side_by_side():
    made = build(on=host(23.52, 2))
    by_name = {agent["name"]: agent for agent in made["agents"]}
    # Both cards hold a 32B; agents that fit on one card are spread.
    small = [agent | {"models": [{"model": "Qwen/Qwen2.5-7B-Instruct-AWQ"}]} for agent in shipped()]
    spread = build(small, host(23.52, 2))["agents"]
    assert [agent["gpus"] for agent in spread] == [[0], [1], [0]]
    assert [agent["conflicts"] for agent in spread] == [["po"], [], ["architect"]]
    assert [agent["environment"]["CUDA_VISIBLE_DEVICES"] for agent in spread] == ["0", "1", "0"]
    assert by_name["dev"]["config"]["tensor-parallel-size"] == 2


def test_a_model_that_does_not_fit_is_a_problem_with_every_reason():
    made = build([agent | {"models": agent["models"][:2]} for agent in shipped()[:2]])
    assert len(made["problems"]) == 2
    assert "agents[architect].models: no model is known to fit." in made["problems"][0]
    assert "61.04 GiB" in made["problems"][0]
    assert "18.14 GiB" in made["problems"][0]
    assert [agent["taken"] for agent in made["agents"]] == [False, False]


def test_without_a_driver_the_card_is_unknown():
    bare = decide.host_of({"gpus": [gpu_facts.card(compute_capability=[12, 0])]})
    made = build(on=bare)
    assert {agent["verdict"] for agent in made["agents"]} == {"unknown"}
    assert all("set gpu_memory_gb" in sentence for sentence in made["waiting"])
    assert made["problems"] == []
    told = decide.host_of({"gpus": [gpu_facts.card(compute_capability=[12, 0])]}, memory_gb=16)
    assert {agent["verdict"] for agent in build(on=told)["agents"]} == {"fits"}
    driven = decide.host_of({"gpus": [gpu_facts.driven()]})
    assert driven.cards[0].cuda_gib == pytest.approx(15.48)
    assert driven.cards[0].bandwidth_gb_s == 448


def test_a_missing_card_is_a_problem():
    made = build([shipped()[0] | {"gpus": [3]}])
    assert made["problems"] == [
        "agents[architect].gpus is [3], but this host has the GPUs 0 to 0: write those numbers."
    ]
    assert made["waiting"] == []


def test_exact_deploys_a_model_whose_fit_is_unknown():
    agent = shipped()[0] | {"models": [{"model": "own/hybrid"}]}
    assert "no model is known to fit" in build([agent])["problems"][0]
    made = build([agent | {"policy": "exact"}])
    assert (made["problems"], made["waiting"], made["agents"][0]["verdict"]) == ([], [], "unknown")


def test_a_lowered_utilization_and_unused_models_are_reported():
    agent = shipped()[2] | {"gpu_memory_utilization": 0.99, "max_num_seqs": 256}
    (note,) = build([agent])["agents"][0]["notes"]
    assert note.startswith("gpu_memory_utilization 0.99 is lowered to 0.9")
    exact = shipped()[2] | {"policy": "exact", "models": shipped()[2]["models"][1:]}
    assert build([exact])["agents"][0]["notes"] == ["With policy exact only the first model is considered."]


def test_fewer_tokens_per_step_mean_fewer_sequences():
    assert build([shipped()[1] | {"max_num_batched_tokens": 128, "max_num_seqs": 64}])["problems"] == []
    agent = {key: value for key, value in shipped()[1].items() if key != "max_num_seqs"}
    assert build([agent | {"max_num_batched_tokens": 128}])["agents"][0]["max_num_seqs"] == 128


def test_on_the_cpu_there_is_no_card_to_fit():
    made = build(accelerator="cpu", on=decide.Host())
    assert {agent["verdict"] for agent in made["agents"]} == {"unknown"}
    assert (made["problems"], made["waiting"]) == ([], [])
    assert made["agents"][0]["model"] == "Qwen/Qwen2.5-32B-Instruct"
    assert "max-num-batched-tokens" not in made["agents"][0]["config"]


@pytest.mark.parametrize("runtime", ["native", "compose"])
@pytest.mark.parametrize(
    ("wanted", "eager"), [({}, True), ({"enforce_eager": True}, True), ({"enforce_eager": False}, False)]
)
def test_an_engine_on_the_cpu_is_eager_unless_the_roster_sets_otherwise(wanted, eager, runtime):
    settings = plan_build.Settings("cpu", "/opt/e", "/srv/m", 900, runtime=runtime, image="i@sha256:1")
    (made,) = plan_build.build([shipped()[1] | wanted], settings, decide.Host())["agents"]
    # Without the variable the first request for log-probabilities stops the engine on a host without a C++ compiler.
    assert (made["config"].get("enforce-eager", False), "TORCHDYNAMO_DISABLE" in made["environment"]) == (eager, eager)


def test_an_engine_on_a_card_compiles_as_before():
    for wanted in ({}, {"enforce_eager": True}):
        (made,) = build([shipped()[1] | wanted])["agents"]
        assert "TORCHDYNAMO_DISABLE" not in made["environment"]


def test_the_accelerator_is_checked():
    with pytest.raises(UsageError) as error:
        build(accelerator="tpu")
    assert (error.value.code, error.value.fields["value"]) == ("unknown_accelerator", "tpu")


def stated(agent, overhead_gib):
    """Return a planned agent's measurement for a given overhead."""
    weights = agent["fit"]["weights_gib_per_rank"]
    kv = 15.5 * agent["gpu_memory_utilization"] - weights - overhead_gib
    fields = ("model", "quantization", "kv_cache_dtype", "gpus", "max_num_seqs", "max_num_batched_tokens", "kernels")
    given = {field: agent[field] for field in (*fields, "enforce_eager", "draft_model", "quantize")}
    more = {"engine": "0.32", "cuda_gib": 15.5}
    return (
        given
        | more
        | {
            "gpu_memory_utilization": agent["gpu_memory_utilization"],
            "max_model_len": agent["max_model_len"],
            "weights_gib": weights,
            "kv_gib": kv,
        }
    )


def facts(starts, deployed):
    gpus = [gpu_facts.card(compute_capability=[12, 0])]
    return {"gpus": gpus, "measured": starts, "deployed": written(deployed) if deployed else None}


def test_a_second_run_computes_the_same_plan_despite_new_measurements():
    first = build(on=decide.host_of(facts([], None), 16))
    better = [stated(first["agents"][0], 0.5)]
    second = build(on=decide.host_of(facts(better, first), 16))
    assert written(second) == written(first)


def test_a_plan_of_an_earlier_version_is_computed_again():
    first = build(on=decide.host_of(facts([], None), 16))
    older = written(first)
    for agent in older["agents"]:
        del agent["waits"]
    assert written(build(on=decide.host_of(facts([], older), 16))) == written(first)


def test_a_requested_recomputation_uses_the_measured_values():
    first = build(on=decide.host_of(facts([], None), 16))
    better = [stated(first["agents"][0], 0.5)]
    again = build(on=decide.host_of(facts(better, first), 16, again=True))
    assert again["agents"][0]["max_model_len"] > first["agents"][0]["max_model_len"]
    assert list(again["agents"][0]["fit"]["overhead_terms"]) == ["measured_overhead"]
    assert again["agents"][1] == first["agents"][1]


@pytest.mark.parametrize("eager", [True, False])
def test_measurements_of_an_eager_engine_apply_only_to_eager_engines(eager):
    agents = [shipped()[0] | {"enforce_eager": True}]
    stated_eager = stated(build(agents)["agents"][0], 0.5)
    (asked,) = build([agents[0] | {"enforce_eager": eager}], decide.host_of(facts([stated_eager], None), 16))["agents"]
    assert ("measured_overhead" in asked["fit"]["overhead_terms"]) == eager
    assert asked["enforce_eager"] == eager


def test_an_engine_that_did_not_fit_is_planned_again():
    first = build(on=decide.host_of(facts([], None), 16))
    worse = [stated(first["agents"][0], 3.5)]
    second = build(on=decide.host_of(facts(worse, first), 16))
    architect = second["agents"][0]
    assert (architect["model"], architect["taken"]) != (first["agents"][0]["model"], False)
    assert architect["verdict"] == "fits"


def test_a_changed_setting_is_planned_again_and_a_changed_port_is_not():
    first = build()
    more = shipped()
    more[0] |= {"max_model_len": 16384}
    moved = shipped()
    moved[0] |= {"port": 9000, "temperature": 1.0}
    assert build(more, host(deployed=written(first)))["agents"][0]["max_model_len"] == 16384
    kept = build(moved, host(deployed=written(first)))["agents"][0]
    assert (kept["fingerprint"], kept["port"]) == (first["agents"][0]["fingerprint"], 9000)


def test_a_folder_of_the_host_is_read_on_the_host():
    config = {
        **{"architectures": ["Qwen2ForCausalLM"], "hidden_size": 256, "num_hidden_layers": 4, "vocab_size": 1024},
        **{"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 512},
        "max_position_embeddings": 4096,
    }
    own = shipped()[2] | {"models": [{"model": "/srv/own"}], "max_model_len": 4096, "max_model_len_min": 1024}
    known = build([own], host(configs={"/srv/own": config}))["agents"][0]
    assert (known["verdict"], known["model_path"]) == ("fits", "/srv/own")
    assert "has no config.json on this host" in build([own])["problems"][0]
    with pytest.raises(UsageError, match=r"max_model_len is 8192, but its models support at most 4096 \(/srv/own\)"):
        build([own | {"max_model_len": 8192}], host(configs={"/srv/own": config}))


def test_a_plan_with_a_problem_is_not_deployed(tmp_path):
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(build([agent | {"models": agent["models"][:1]} for agent in shipped()])))
    with pytest.raises(UsageError) as error:
        plan_deployed.load(file)
    assert error.value.code == "plan_does_not_fit"


def test_a_first_start_compiles_without_copies_of_the_weights():
    (config,) = {json.dumps(agent["config"]["compilation-config"]) for agent in build()["agents"]}
    assert json.loads(config) == {
        "inductor_compile_config": {
            **{"combo_kernels": True, "benchmark_combo_kernel": False},
            "triton.autotune_at_compile_time": False,
        }
    }


@pytest.mark.parametrize(
    ("capability", "kv_cache_dtype", "dtype"),
    [
        *(((9, 0), "fp8", "bfloat16"), ((9, 0), "fp8_e5m2", None), ((9, 0), "auto", None)),
        *(((12, 0), "fp8", None), ((8, 9), "fp8", None)),
    ],
)
def test_hopper_answers_from_an_8_bit_kv_cache_in_bfloat16_alone(capability, kv_cache_dtype, dtype):
    agents = [agent | {"kv_cache_dtype": kv_cache_dtype, "give_up": ["model"]} for agent in shipped()]
    on = decide.Host((HostCard(0, "a card", 79.18, capability, 3350.0),))
    made = build(agents, on)["agents"]
    assert {agent["kv_cache_dtype"] for agent in made} == {kv_cache_dtype}
    assert {agent["config"].get("dtype") for agent in made} == {dtype}


@pytest.mark.parametrize(
    ("capability", "kv_cache_dtype", "backend"),
    [
        ((12, 0), "fp8", "TRITON_ATTN"),
        ((12, 0), "auto", None),
        ((10, 0), "auto", "FLASH_ATTN"),
        ((9, 0), "fp8", None),
        ((9, 0), "fp8_e5m2", "TRITON_ATTN"),
        ((8, 9), "fp8", "TRITON_ATTN"),
    ],
)
def test_an_engine_of_wheels_needs_no_compiler_of_nvidias(capability, kv_cache_dtype, backend):
    agents = [agent | {"kv_cache_dtype": kv_cache_dtype, "give_up": ["model"]} for agent in shipped()]
    on = decide.Host((HostCard(0, "a card", 79.18, capability, 3350.0),))
    for agent in build(agents, on)["agents"]:
        assert agent["config"].get("attention-backend") == backend
        assert agent["environment"]["VLLM_USE_FLASHINFER_SAMPLER"] == "0"
    settings = plan_build.Settings("cuda", "/opt/e", "/srv/m", 900, runtime="compose", image="i@sha256:1")
    for agent in plan_build.build(agents, settings, on)["agents"]:
        assert "attention-backend" not in agent["config"]
        assert "VLLM_USE_FLASHINFER_SAMPLER" not in agent["environment"]
    # An image into which the engine's environment is mounted.
    for agent in plan_build.build(agents, settings._replace(image_has_engine=False), on)["agents"]:
        assert agent["config"].get("attention-backend") == backend
        assert agent["environment"]["VLLM_USE_FLASHINFER_SAMPLER"] == "0"


def test_an_engine_of_wheels_gets_no_option_that_needs_flashinfer():
    on = decide.Host((HostCard(0, "a card", 15.5, (8, 6), 448.0),))
    image = plan_build.Settings("cuda", "/opt/e", "/srv/m", 900, runtime="compose", image="i@sha256:1")
    assert plan_build.build(shipped(), image, on)["agents"][0]["kv_cache_dtype"] == "fp8"
    assert {agent["kv_cache_dtype"] for agent in build(on=on)["agents"]} == {"auto"}
    wanted = [agent | {"kv_cache_dtype": "fp8"} for agent in shipped()]
    (problem, *_) = build(wanted, on)["problems"]
    assert (
        "An 8-bit KV cache requires compute capability 8.9, and the card has 8.6. Use kv_cache_dtype auto, or "
        in problem
    )


def test_every_setting_becomes_the_engines_own_option():
    agent = shipped()[1] | {
        "models": [{"model": "Qwen/Qwen3-8B", "quantization": "fp8_per_channel"}],
        **{"kv_cache_dtype": "fp8", "enforce_eager": True, "enable_prefix_caching": False, "gpus": [0]},
        **{"max_num_batched_tokens": 4096, "max_model_len": 4096, "max_model_len_min": 1024},
        "speculative_config": {"method": "draft_model", "model": "Qwen/Qwen3-0.6B", "num_speculative_tokens": 3},
    }
    (made,) = build([agent])["agents"]
    assert made["config"] == {
        **{"model": "/srv/m/Qwen/Qwen3-8B/main", "served-model-name": "dev", "host": "127.0.0.1", "port": 8001},
        **{"max-model-len": 4096, "gpu-memory-utilization": 0.95, "quantization": "fp8_per_channel"},
        **{"max-num-seqs": 16, "max-num-batched-tokens": 4096, "generation-config": "vllm"},
        "middleware": "roundhouse_roles.RoleDefaults",
        **{"shutdown-timeout": 30, "fail-on-environ-validation": True, "no-enable-prefix-caching": True},
        **{"disable-access-log-for-endpoints": "/health,/metrics", "allowed-media-domains": ["no-domain.invalid"]},
        **{"kv-cache-dtype": "fp8", "attention-backend": "TRITON_ATTN"},
        **{"enforce-eager": True, "enable-auto-tool-choice": True},
        "tool-call-parser": "hermes",
        "speculative-config": {
            **{"method": "draft_model", "model": "/srv/m/Qwen/Qwen3-0.6B/main", "num_speculative_tokens": 3},
        },
    }
    assert made["fit"]["format"] == "fp8"
