"""The phase of a start from the engine's log, and the remaining time from earlier starts."""

import pytest

from roundhouse.paths import CHECKOUT
from roundhouse.state import serving, start_phases

AGENT = {"name": "dev", "model_path": "/m"}
# Lines of vLLM 0.32 on the lab's host. The last but one has two updates of one progress bar, as in a journal.
LINES = (
    "(APIServer pid=276) INFO 11-25 03:00:10 [api_utils.py:286] non-default args: {'host': '127.0.0.1'}",
    "(EngineCore pid=298) INFO 11-25 03:00:35 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config",
    "(Worker pid=310) INFO 11-25 03:00:49 [cpu_model_runner.py:68] Starting to load model /srv/lab/models/dev...",
    "Loading safetensors checkpoint shards:   0% Completed\rLoading safetensors checkpoint shards:  42% Completed",
    "(EngineCore pid=298) INFO 11-25 03:01:02 [core.py:402] init engine (profile, create kv cache, warmup model) took",
)


def follow(known=None):
    progress = start_phases.Progress(known)
    return progress, [progress.text(at) for at, line in enumerate(LINES, 1) if progress.feed(line, at)]


def test_each_phase_is_reported_when_it_begins():
    _, told = follow()
    assert told == [
        "loading vLLM",
        "starting the engine",
        "loading weights",
        "loading weights 42 %",
        "opening the API",
    ]


def test_graphs_that_are_captured_to_measure_memory_are_not_the_last_ones():
    log = CHECKOUT / "tests/fixtures/starts/po-24gb.log"
    progress = start_phases.Progress(None)
    for at, line in enumerate(log.read_text().splitlines()):
        progress.feed(line, at)
    assert list(progress.began) == [name for name, _ in start_phases.PHASES]
    assert list(progress.began.values()) == sorted(progress.began.values())


def test_the_time_left_is_that_of_earlier_starts_and_moves_with_a_late_phase():
    known = start_phases.Start("dev", "/m", 20.0, {"loading weights": 2.0, "opening the API": 19.5})
    progress, told = follow(known)
    assert told[0] == "loading vLLM, about 19 s left"
    assert told[2] == "loading weights, about 18 s left"  # one second late, so the end is too
    assert progress.left_seconds(1000) == 0


def test_the_last_starts_are_remembered_each_with_its_model(tmp_path, monkeypatch):
    monkeypatch.setattr(serving, "FOLDER", tmp_path)
    assert start_phases.known(AGENT) is None
    for seconds in (100, 20, 22, 24, 26, 28):
        start_phases.keep(AGENT, follow()[0], seconds)
    assert start_phases.known(AGENT).seconds == 24  # the median of the last five
    assert start_phases.known(AGENT | {"model_path": "/other"}) is None
    start_phases.keep(AGENT | {"model_path": "/other"}, follow()[0], 7)
    assert start_phases.known(AGENT) is None  # another model's starts are forgotten
    start_phases.keep(AGENT | {"name": "po"}, follow()[0], 9)
    assert start_phases.known(AGENT | {"model_path": "/other"}).seconds == 7


@pytest.mark.parametrize("content", ["", "{", '{"schema": 99, "starts": []}'])
def test_an_invalid_file_counts_as_no_start(tmp_path, monkeypatch, content):
    monkeypatch.setattr(serving, "FOLDER", tmp_path)
    start_phases.path().write_text(content)
    assert start_phases.known(AGENT) is None
