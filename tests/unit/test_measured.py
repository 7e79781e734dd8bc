"""The measurements in a start log of the pinned vLLM, and their use in the next plan."""

import json

import pytest

from roundhouse.catalog.model_families import find
from roundhouse.paths import CHECKOUT
from roundhouse.plan import candidates, measured
from roundhouse.plan.candidates import Configuration
from roundhouse.schema.facts import Measurement
from roundhouse.schema.plan import Agent

# The format strings of vLLM 0.32 (v1/worker/gpu_model_runner.py, v1/worker/gpu_worker.py, v1/core/kv_cache_utils.py),
# with numbers; some lines are logged by both of two ranks.
LOG = """\
(Worker_TP0 pid=7) INFO 11-24 10:00:01 [gpu_model_runner.py:5149] Model loading took 9.0623 GiB memory and 8.1 seconds
(Worker_TP1 pid=8) INFO 11-24 10:00:01 [gpu_model_runner.py:5149] Model loading took 9.0701 GiB memory and 8.2 seconds
(Worker_TP0 pid=7) INFO 11-24 10:00:09 [gpu_worker.py:759] Available KV cache memory: 3.41 GiB
(Worker_TP1 pid=8) INFO 11-24 10:00:09 [gpu_worker.py:759] Available KV cache memory: 3.38 GiB
(EngineCore pid=5) INFO 11-24 10:00:09 [kv_cache_utils.py:2327] GPU KV cache size: 55,376 tokens, Maximum concurrency \
for 32,768 tokens per request: 1.69x
(Worker_TP0 pid=7) INFO 11-24 10:00:12 [gpu_worker.py:971] CUDA graph pool memory: 0.29 GiB (actual), 0.31 GiB \
(estimated), difference: 0.02 GiB (6.9%).
(Worker_TP0 pid=7) INFO 11-24 10:00:12 [gpu_worker.py:1034] Free memory on device (14.91/15.48 GiB) on startup. \
Desired GPU memory utilization is (0.9, 13.93 GiB). Actual usage is 9.4 GiB for consumed memory (weights + non-torch), \
0.21 GiB for peak activation, and 0.29 GiB for CUDAGraph memory.
"""
STATED = {
    **{"weights_gib": 9.0701, "kv_gib": 3.38, "kv_tokens": 55376, "graphs_estimated_gib": 0.31, "graphs_gib": 0.29},
    **{"activation_gib": 0.21, "cuda_gib": 15.48},
}
AGENT = {
    **{"name": "dev", "model": "Qwen/Qwen2.5-Coder-32B-Instruct-AWQ", "quantization": "awq", "gpus": [0, 1]},
    **{"kv_cache_dtype": "fp8", "max_num_seqs": 16, "max_num_batched_tokens": 2048, "max_model_len": 32768},
    **{"gpu_memory_utilization": 0.9, "draft_model": None, "quantize": None, "kernels": True, "enforce_eager": False},
}


def test_a_measurement_is_of_what_the_plan_names():
    assert Measurement.__required_keys__ == {"engine", *measured._IDENTITY, *measured._STARTED_WITH}
    assert set(measured._IDENTITY) < set(Agent.__annotations__)
    assert set(measured._LINES) == Measurement.__optional_keys__


def test_a_start_log_is_read():
    assert measured.parse(LOG.splitlines()) == STATED


def test_a_start_on_a_real_card_is_read():
    log = CHECKOUT / "tests/fixtures/starts/po-24gb.log"  # an H100's, cut, folders renamed
    assert measured.parse(log.read_text().splitlines()) == {
        **{"weights_gib": 14.29, "kv_gib": 1.4, "kv_tokens": 26160, "graphs_gib": 0.06, "activation_gib": 0.41},
        **{"cuda_gib": 79.18, "graphs_estimated_gib": 0.1},
    }


def test_a_failed_start_has_the_values_that_it_logged():
    lines = LOG.splitlines()[:3]
    assert measured.parse(lines) == {"weights_gib": 9.0701, "kv_gib": 3.41}
    assert measured.entry(AGENT, ["ValueError: unknown option"]) is None


def test_the_cpus_engine_states_its_tokens():
    lines = [
        "INFO 11-24 10:00:09 [cpu_worker.py:260] Explicitly set (1.0/22.84) GiB for KV cache on node 0.",
        "INFO 11-24 10:00:09 [kv_cache_utils.py:2327] CPU KV cache size: 262,144 tokens, Maximum concurrency for",
    ]
    assert measured.parse(lines) == {"kv_gib": 1.0, "kv_tokens": 262144}
    assert candidates.lookup([measured.entry(AGENT, lines)], {}) == {}


def test_the_newest_start_of_a_configuration_is_kept(tmp_path):
    path = tmp_path / "measured.json"
    measured.learn(AGENT, LOG.splitlines(), path)
    measured.learn(AGENT | {"kv_cache_dtype": "auto"}, LOG.splitlines(), path)
    measured.learn(AGENT | {"max_model_len": 4096}, ["Model loading took 9.5 GiB memory and 3 seconds"], path)
    kept = measured.load(path)
    assert [(each["kv_cache_dtype"], each["weights_gib"]) for each in kept] == [("fp8", 9.5), ("auto", 9.0701)]
    assert measured.of(AGENT, kept)["weights_gib"] == 9.5
    assert measured.of(AGENT | {"gpus": [2, 3]}, kept) is None
    assert list(tmp_path.iterdir()) == [path]


def test_an_eager_start_is_not_taken_for_one_with_graphs(tmp_path):
    path = tmp_path / "measured.json"
    for eager in (True, False):
        measured.learn(AGENT | {"enforce_eager": eager}, LOG.splitlines(), path)
    assert [each["enforce_eager"] for each in measured.load(path)] == [False, True]
    assert {each.enforce_eager for each in candidates.lookup(measured.load(path), {})} == {False, True}


def test_a_start_that_may_have_been_eager_is_left_out(tmp_path):
    path = tmp_path / "measured.json"
    path.write_text(
        json.dumps({"schema": 1, "starts": [measured.entry(AGENT, LOG.splitlines()) | {"enforce_eager": None}]})
    )
    assert measured.load(path) == []


def test_the_file_is_bounded(tmp_path):
    path = tmp_path / "measured.json"
    for seqs in range(measured.KEEP + 5):
        measured.learn(AGENT | {"max_num_seqs": seqs}, LOG.splitlines(), path)
    assert len(measured.load(path)) == measured.KEEP


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", json.dumps({"schema": 99, "starts": []}), json.dumps({"schema": 1})),
        *(json.dumps({"schema": 1, "starts": starts}) for starts in (None, [{}], ["start"], [AGENT | {"gpus": 1}])),
    ],
)
def test_a_file_of_another_version_is_ignored(tmp_path, text):
    path = tmp_path / "measured.json"
    path.write_text(text)
    assert measured.load(path) == []
    measured.learn(AGENT, LOG.splitlines(), path)
    assert len(measured.load(path)) == 1


def test_overhead_is_the_remainder_of_the_share():
    made = measured.entry(AGENT, LOG.splitlines())
    (found,) = candidates.lookup([made], {}).items()
    assert found[0] == Configuration(
        model=AGENT["model"],
        form=find(AGENT["model"]).form.name,
        kv_cache_dtype="fp8",
        gpus=(0, 1),
        max_num_seqs=16,
        max_num_batched_tokens=2048,
        enforce_eager=False,
        draft=None,
        kernels=True,
    )
    assert found[1].weights_gib == 9.0701
    assert found[1].overhead_gib == pytest.approx(15.48 * 0.9 - 9.0701 - 3.38)


def test_a_start_that_failed_is_reckoned_with_the_plans_card():
    lines = ["Model loading took 9.36 GiB memory and 3 seconds", "Available KV cache memory: 0.45 GiB"]
    made = measured.entry(AGENT | {"fit": {"card_gib": 15.5}}, lines)
    (found,) = candidates.lookup([made], {}).values()
    assert found.overhead_gib == pytest.approx(15.5 * 0.9 - 9.36 - 0.45)


def test_another_engine_or_half_a_log_gives_no_terms():
    made = measured.entry(AGENT, LOG.splitlines())
    assert candidates.lookup([made | {"engine": "0.31"}], {}) == {}
    assert candidates.lookup([made | {"kv_gib": None}], {}) == {}
    assert candidates.lookup([made | {"model": "own/unknown"}], {}) == {}
