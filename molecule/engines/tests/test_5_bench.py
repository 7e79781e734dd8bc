"""`bench` measures the active agent and llama.cpp with the same model, and shows both."""

import json
import subprocess

import pytest
from hosts import HOSTS as ALL
from hosts import ROOT

from roundhouse.bench import plot

# One host is enough, because the command and the engine are the same on both.
HOSTS = ALL[:1]
METRICS = "http://127.0.0.1:8101/metrics"
LOAD = "--input-tokens 128 --output-tokens 32 --requests 8 --parallel 1,4"


@pytest.fixture(scope="module")
def llama(name):
    """Return the address of llama.cpp's server with dev's own model."""
    container = f"{name}-llama"
    done = subprocess.run([ROOT / "lab/llama.sh", "dev", container], stdout=subprocess.PIPE, text=True, check=True)
    yield done.stdout.strip()
    subprocess.run(["docker", "rm", "--force", container], capture_output=True, check=True)


@pytest.fixture(scope="module")
def measured(host, switch, llama):
    """Return the JSON object of a bench of dev against llama.cpp."""
    assert switch("dev")["rc"] == 0
    before = cached(host)
    done = host.run(f"roundhouse bench {LOAD} --against {llama} --json")
    share = cached(host) - before
    return json.loads(done.stdout) | {"rc": done.rc, "stderr": done.stderr, "cached_tokens": share}


def cached(host):
    """Return the number of prompt tokens that dev's engine found in its prefix cache."""
    text = host.check_output(
        "python3 -c %s", f"import urllib.request as u; print(u.urlopen({METRICS!r}).read().decode())"
    )
    lines = [line for line in text.splitlines() if line.startswith("vllm:prefix_cache_hits_total")]
    return sum(float(line.split()[-1]) for line in lines)


def test_both_are_measured_under_the_same_load(measured, llama):
    assert (measured["rc"], measured["errors"]) == (0, [])
    assert (measured["agent"], measured["against"]["url"]) == ("dev", llama)
    for rows in (measured["measured"], measured["against"]["measured"]):
        assert [(row["parallel"], row["requests"], row["failed"]) for row in rows] == [(1, 8, 0), (4, 8, 0)]
        # Each answer has the requested length, otherwise the ratios would compare different work.
        assert {row["tokens_each"] for row in rows} == {32.0}


def test_the_figures_agree_with_each_other(measured):
    for row in (*measured["measured"], *measured["against"]["measured"]):
        assert row["requests_per_minute"] == pytest.approx(60 * row["requests"] / row["seconds"], rel=0.05)
        assert row["tokens_per_second"] == pytest.approx(row["requests_per_minute"] * 32 / 60, rel=0.02)
        assert 0 < row["ttft_seconds"] <= row["ttft_p99_seconds"]
    for ours, theirs, ratio in zip(
        measured["measured"], measured["against"]["measured"], measured["ratios"], strict=True
    ):
        assert ratio["tokens_per_second"] == pytest.approx(
            ours["tokens_per_second"] / theirs["tokens_per_second"], 0.01
        )


def test_no_prompt_is_in_the_prefix_cache(measured):
    # Except the first prompt of a level, which the tool sends as a check, as a warm-up, and with the others.
    again = sum(row["parallel"] + 1 for row in measured["measured"])
    assert measured["cached_tokens"] <= again * 128


def in_flight(row):
    """Return the average number of concurrent requests by Little's law, which is the same at any speed."""
    seconds_each = row["ttft_seconds"] + (row["tokens_each"] - 1) / row["tokens_per_second_each"]
    return row["requests"] * seconds_each / row["seconds"]


def test_the_requested_number_of_requests_runs_concurrently(measured):
    one, four = map(in_flight, measured["measured"])
    assert one < 1.5
    assert four > 2


def test_the_files_have_the_figures_and_the_chart_a_bar_for_each(host, measured):
    kept = json.loads(host.file(measured["files"]["json"]).content_string)
    assert kept["measured"] == measured["measured"]
    chart = host.file(measured["files"]["svg"]).content_string
    bars = 4 * len(measured["measured"])
    assert chart.count(f'fill="{plot.OURS}"') == chart.count(f'fill="{plot.THEIRS}"') == bars + 1  # and the legend's


@pytest.mark.parametrize(
    ("words", "status", "part"),
    [
        ("bench po --json", 1, "po is not active."),
        ("bench dev --input-tokens 4096 --json", 2, "exceed the 4096 tokens of dev"),
        ("bench dev --against http://127.0.0.1:9 --json", 1, "lists no models"),
    ],
)
def test_an_invalid_measurement_is_refused_with_a_sentence(host, measured, words, status, part):
    done = host.run(f"roundhouse {words}")
    assert done.rc == status
    assert part in json.loads(done.stdout)["errors"][0]["message"]
