"""The time limit of a start: its terms, the disk's rate, and the limit that a second run keeps."""

import json

import pytest

from roundhouse.catalog.gpus import HostCard
from roundhouse.errors import UsageError
from roundhouse.host import disk
from roundhouse.plan import build as plan_build
from roundhouse.plan import decide, start_timeout
from roundhouse.plan.start_timeout import Load
from roundhouse.util.units import GIB, MIB

AGENT = {"name": "dev", "port": 8001, "max_model_len": 8192, "gpu_memory_utilization": 0.9}
ROSTER = [AGENT | {"temperature": 0.3, "top_p": 0.9, "models": [{"model": "Qwen/Qwen2.5-7B-Instruct-AWQ"}]}]
STORE = "/srv/m"


def build(setting=None, **known):
    card = HostCard(0, "a card", 15.5, (12, 0), 448.0)
    settings = plan_build.Settings("cuda", "/e", STORE, setting)
    (agent,) = plan_build.build(ROSTER, settings, decide.Host((card,), **known))["agents"]
    return agent


def test_the_terms_add_up():
    made = start_timeout.compute(Load(10 * GIB, 2048 * MIB, eager=False))
    # 60 s to begin, 10 GiB at half of 2 GiB/s, 260 s to compile: 330 s, and 50 % more, in steps of ten.
    assert made["seconds"] == 500
    assert "10 s for 10.00 GiB at 1024 MiB/s, half of its disk's 2048" in made["why"]


def test_an_eager_engine_compiles_nothing():
    eager, compiled = (start_timeout.compute(Load(10 * GIB, None, eager=each))["seconds"] for each in (True, False))
    assert eager < compiled - 300


def test_a_disk_that_was_not_measured_is_taken_for_a_slow_one():
    unknown, slow = (
        start_timeout.compute(Load(20 * GIB, None, eager=True)),
        start_timeout.compute(Load(20 * GIB, 200 * MIB, eager=True)),
    )
    assert unknown["seconds"] == slow["seconds"]
    assert "because its disk was not measured" in unknown["why"]


def test_a_model_of_unknown_size_has_a_fixed_limit_and_a_reason():
    assert start_timeout.compute(Load(None, 500.0 * MIB, eager=True)) == {
        "seconds": 900,
        "why": "the model's size is unknown",
    }


def test_a_start_that_was_slow_here_raises_the_limit_and_a_quick_one_does_not_lower_it():
    quick, slow = (start_timeout.compute(Load(GIB, None, eager=True, slowest_seconds=each)) for each in (5.0, 400.0))
    assert quick == start_timeout.compute(Load(GIB, None, eager=True))
    assert slow == {"seconds": 800, "why": "2 x the slowest successful start here, 400 s"}


def test_the_plan_has_it_for_the_unit_and_for_the_engines_own_limit():
    agent = build()
    assert agent["start_timeout_seconds"] > 390
    assert agent["environment"]["VLLM_ENGINE_READY_TIMEOUT_S"] == str(agent["start_timeout_seconds"])
    # Four starts that all time out must end in a failover: the fifth is still in the window.
    each = agent["start_timeout_seconds"] + agent["stop_timeout_seconds"] + agent["restart_seconds"]
    assert agent["start_tries_seconds"] > agent["start_tries"] * each


def test_the_limit_is_computed_from_the_hosts_disk_and_starts():
    measured = build(disk={STORE: {"weights_bytes": 1, "bytes_per_second": 3000.0 * MIB}})
    assert "at 1500 MiB/s" in measured["start_timeout_why"]
    assert measured["start_timeout_seconds"] < build()["start_timeout_seconds"]
    starts = ({"agent": "dev", "model_path": measured["model_path"], "seconds": 500.0, "began": {}},)
    assert build(starts=starts)["start_timeout_seconds"] == 1000
    other = ({"agent": "dev", "model_path": "/another", "seconds": 500.0, "began": {}},)
    assert build(starts=other) == build()


def test_a_deployed_limit_stays_while_it_is_sufficient():
    def again(before, rate, **more):
        deployed = json.loads(json.dumps({"agents": [before]}))
        return build(deployed=deployed, disk={STORE: {"weights_bytes": 1, "bytes_per_second": rate * MIB}}, **more)

    first = build(disk={STORE: {"weights_bytes": 1, "bytes_per_second": 3000.0 * MIB}})
    assert again(first, 2000.0)["start_timeout_why"] == first["start_timeout_why"]
    assert again(first, 2000.0, again=True)["start_timeout_why"] != first["start_timeout_why"]
    assert again(first, 30.0)["start_timeout_seconds"] > first["start_timeout_seconds"]
    # A limit from group_vars is not kept after the setting is removed, also if an earlier version deployed it.
    for why in start_timeout._SET:
        before = {**build(setting=2000), "start_timeout_why": why}
        assert again(before, 3000.0)["start_timeout_why"] == first["start_timeout_why"]


@pytest.mark.parametrize("setting", [300, "300"])
def test_group_vars_can_set_the_limit(setting):
    agent = build(setting=setting)
    assert (agent["start_timeout_seconds"], agent["start_timeout_why"]) == (300, "set by agents_start_timeout_seconds")


@pytest.mark.parametrize("setting", [0, -5, "long", 1.5])
def test_an_invalid_setting_is_refused(setting):
    with pytest.raises(UsageError) as error:
        build(setting=setting)
    assert (error.value.code, error.value.fields) == ("start_timeout_invalid", {"value": setting})


def test_a_disk_is_measured_on_the_weights_past_the_cache(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/model.safetensors").write_bytes(bytes(32 * MIB))
    (tmp_path / "small.safetensors").write_bytes(bytes(100))
    found = disk.facts([str(tmp_path), str(tmp_path / "none")])
    assert list(found) == [str(tmp_path)]
    assert found[str(tmp_path)]["weights_bytes"] == 32 * MIB + 100
    rate = found[str(tmp_path)]["bytes_per_second"]
    assert rate is None or rate > MIB  # None: a file system that reads only through its cache
    assert disk.bytes_per_second(tmp_path / "small.safetensors") is None
