"""The bench: its arithmetic, its texts, its refusals. molecule/engines tests the measurement itself."""

import json
from xml.etree import ElementTree

import pytest
from small_server import Handler, served

from roundhouse.bench import load, plot, report, run
from roundhouse.bench import target as bench_target
from roundhouse.cli import main
from roundhouse.errors import RoundhouseError

GUIDE = {"agent": "dev", "model": "Qwen/Qwen2.5-Coder-14B-Instruct-AWQ", "quantization": "awq", "engine": "vLLM 0.32.0"}


def row(parallel, each, total, *, ttft=0.5, failed=0, tokens=128.0):
    told = {"completed": 8 - failed, "failed": failed, "errors": ["Traceback\nConnectionReset: gone\n"] * failed}
    told |= {"duration": 10.0, "median_tpot_ms": 1000 / each, "output_throughput": total, "request_throughput": 0.8}
    told |= {"median_ttft_ms": 1000 * ttft, "p99_ttft_ms": 2000 * ttft, "total_output_tokens": tokens * (8 - failed)}
    return load.figures(told, parallel)


def result(ours, theirs=None, ceiling=53.0):
    other = {"url": "http://other:11434", "model": "qwen", "measured": theirs} if theirs else None
    return GUIDE | {
        "accelerator": "cuda",
        "at": "2026-11-27T00:00:00Z",
        "load": {"input_tokens": 512, "output_tokens": 128},
        "ceiling_tokens_per_second_each": ceiling,
        "promised": run.promised("dev"),
        "measured": ours,
        "against": other,
        "ratios": [run.ratios(a, b) for a, b in zip(ours, theirs or [], strict=False)],
    }


def test_the_tools_milliseconds_become_seconds_and_rates():
    told = row(4, 40.0, 150.0, ttft=0.25)
    assert (told["ttft_seconds"], told["ttft_p99_seconds"]) == (0.25, 0.5)
    assert (told["tokens_per_second_each"], told["requests_per_minute"], told["tokens_each"]) == (40.0, 48.0, 128.0)


def test_unmeasured_values_are_not_numbers():
    told = {"completed": 0, "failed": 8, "errors": ["x"], "duration": 1.0, "median_tpot_ms": 0.0, "median_ttft_ms": 0.0}
    told |= {"p99_ttft_ms": 0.0, "output_throughput": 0.0, "request_throughput": 0.0, "total_output_tokens": 0}
    told = load.figures(told, 1)
    assert [told[key] for key in ("ttft_seconds", "tokens_per_second_each", "tokens_each")] == [None] * 3
    assert run.ratios(told, row(1, 40.0, 150.0))["tokens_per_second_each"] is None


def test_the_ratio_is_ours_by_theirs_and_the_text_shows_both():
    ours, theirs = row(1, 40.0, 38.0), row(1, 20.0, 19.0)
    assert run.ratios(ours, theirs)["tokens_per_second_each"] == 2.0
    text = report.text(result([ours], [theirs]))
    assert "x 2.00" in text
    assert "ceiling for one request is 53 tokens/s" in text
    assert "One request reached 75% of it." in text
    assert "50-80 tokens/s each, a first token in 1-2 s, 25 requests per minute for dev" in text


def test_shorter_answers_are_reported_as_not_comparable():
    text = report.text(result([row(1, 40.0, 38.0)], [row(1, 20.0, 19.0, tokens=40.0)]))
    assert "answered with 40 tokens, not 128" in text
    assert "ignore_eos" not in report.text(result([row(1, 40.0, 38.0)], [row(1, 20.0, 19.0)]))


def test_a_failed_request_is_an_error_with_its_cause():
    (sentence,) = run.problems(result([row(1, 40.0, 38.0, failed=2)], None, None))
    assert sentence.startswith("2 of 8 requests to dev failed with 1 in parallel")
    assert "ConnectionReset: gone." in sentence


def test_the_chart_has_a_bar_for_each_figure_and_its_baseline():
    ours, theirs = (
        [row(1, 40.0, 38.0), row(4, 30.0, 110.0)],
        [row(1, 20.0, 19.0), row(4, 9.0, 9.0) | {"tokens_per_second": None}],
    )
    made = plot.svg(result(ours, theirs) | {"model": "a & b/<c>"})
    chart = ElementTree.fromstring(made)  # noqa: S314 - made just now
    texts = [each.text for each in chart.iter("{http://www.w3.org/2000/svg}text")]
    fills = [each.get("fill") for each in chart.iter("{http://www.w3.org/2000/svg}rect")]
    assert texts[0] == "dev: <c>, vLLM 0.32.0"
    assert {
        *plot.PANELS.values(),
        "ceiling of the plan: 53",
        "migration guide: 50-80",
        "4 parallel",
        "no value",
    } <= set(texts)
    assert (fills.count(plot.OURS), fills.count(plot.THEIRS)) == (1 + 8, 1 + 7)  # of the legend, and of the figures
    (width, height) = map(float, chart.get("viewBox").split()[2:])
    for each in chart.iter("{http://www.w3.org/2000/svg}rect"):
        assert 0 < float(each.get("width")) <= width
        assert 0 < float(each.get("height")) <= height


def test_a_panel_is_higher_than_its_bars():
    assert plot.top_of([[40.0, None], [20.0]], [50.0, 80.0], 53.0) >= 80 * 1.12
    assert plot.top_of([[0.02]], None, None) < 0.03


@pytest.mark.parametrize(
    ("words", "code", "value"),
    [
        (["--parallel", "1,x"], "parallel_invalid", "1,x"),
        (["--parallel", "0"], "parallel_invalid", "0"),
        (["--output-tokens", "1"], "output_tokens_invalid", 1),
        (["--requests", "0"], "requests_invalid", 0),
        (["--against-model", "x"], "against_missing", None),
    ],
)
def test_invalid_options_are_refused_before_anything_runs(capsys, words, code, value):
    assert main.main(["bench", *words, "--json"]) == 2
    (error,) = json.loads(capsys.readouterr().out)["errors"]
    assert (error["code"], error["fields"].get("value")) == (code, value)


class Models(Handler):
    """Lists two models for a request with the key."""

    def do_GET(self):
        allowed = self.headers["Authorization"] == "Bearer secret"
        body = json.dumps({"data": [{"id": "a"}, {"id": "b"}]} if allowed else {}).encode()
        self.send_response(200 if allowed else 401)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def endpoint():
    with served(Models) as server:
        yield f"http://127.0.0.1:{server.server_port}/v1"


def test_another_endpoint_is_asked_which_model_and_with_its_key(endpoint, tmp_path):
    key = tmp_path / "key"
    key.write_text("secret\n")
    assert bench_target.other(endpoint, "b", key) == (endpoint.removesuffix("/v1"), "b", "secret")
    refusals = {
        (endpoint, None, key): ("against_model_missing", "models", "a, b"),
        (endpoint, "c", key): ("against_model_unknown", "models", "a, b"),
        (endpoint, "a", None): ("against_no_models", "why", "status 401"),
        ("localhost:11434", None, None): ("against_invalid", "url", "localhost:11434"),
    }
    for asked, (code, name, value) in refusals.items():
        with pytest.raises(RoundhouseError) as error:
            bench_target.other(*asked)
        assert (error.value.code, error.value.fields[name]) == (code, value)


def test_an_engine_in_an_image_measures_there_without_a_key_in_its_arguments(tmp_path, monkeypatch):
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\necho "$@" > "$0.words"\necho "$OPENAI_API_KEY" > "$0.key"\necho boom >&2\nexit 3\n')
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    plan = {"engine_path": str(tmp_path / "none"), "image": "vllm/vllm-openai:v0.32.0"}
    tool = load.of(plan, {"name": "x", "model_path": "/srv/m/x"})
    target = bench_target.Target("http://other:8000", "x", "secret-key")
    with pytest.raises(RoundhouseError) as error:
        load.run(tool, load.Load(128, 32, (1,)), 1, 7, target)
    assert (error.value.code, error.value.fields["why"]) == ("bench_failed", "boom (exit status 3)")
    words = (tmp_path / "docker.words").read_text()
    assert "--network=host" in words
    assert "--volume=/srv/m/x:/srv/m/x:ro" in words
    assert "--entrypoint=vllm vllm/vllm-openai:v0.32.0 bench serve" in words
    assert "secret-key" not in words
    assert (tmp_path / "docker.key").read_text() == "secret-key\n"
    confined = {"--cap-drop=ALL", "--security-opt=no-new-privileges", "--read-only", "--pids-limit=32768"}
    assert confined <= {*words.split()}
    assert "--user=" in words


def test_bench_without_an_engine_is_refused(tmp_path):
    with pytest.raises(RoundhouseError) as error:
        load.of({"engine_path": str(tmp_path)}, {"name": "x", "model_path": "/x"})
    assert error.value.code == "bench_tool_missing"
