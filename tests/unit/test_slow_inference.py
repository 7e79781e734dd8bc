"""The causes of slow inference: the fake engine's metrics, the stand-in card's clocks, and the plan's choices."""

import json
import os
import socket
import subprocess
import sys
import urllib.request

import pytest
from clock import TIMEOUT_SECONDS, until
from real_gateway import free_port

from roundhouse.agents import gpu_memory
from roundhouse.checkup import slow_inference
from roundhouse.paths import CHECKOUT as ROOT
from roundhouse.vllm import client
from roundhouse.vllm.client import Engine

CARD = "gpu 0000:01:00.0 2d04 16311 15000 12.0 on GPU-5f1c NVIDIA GeForce RTX 5060 Ti"
THROTTLING = "from roundhouse.checkup import slow_inference; seen = slow_inference.throttling('GPU-5f1c'); "
THROTTLING += "print(json.dumps([seen.reasons(), seen.busy]))"


@pytest.fixture
def serving(tmp_path):
    """Return a function that starts the fake engine with faults and returns its agent."""
    running = []

    def start(*faults):
        port = free_port()
        config = tmp_path / "dev.yaml"
        lines = ("model: /m", "served-model-name: dev", "host: 127.0.0.1", f"port: {port}", "max-num-seqs: 1")
        config.write_text("\n".join(lines) + "\n")
        words = [sys.executable, ROOT / "lab/fake/vllm", "serve", "--config", config, *faults]
        quiet = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
        running.append(subprocess.Popen(words, stdout=subprocess.DEVNULL, env=quiet))
        until(Engine("127.0.0.1", port).healthy)
        return {"name": "dev", "unit": "roundhouse-dev.service", "max_num_seqs": 1} | {
            "host": "127.0.0.1",
            "engine_port": port,
        }

    yield start
    for process in running:
        process.kill()
        process.wait()


def send_two(agent):
    """Send two requests to an engine that runs one at a time; return both connections once one waits.

    The first one runs until it is closed.
    """
    body = json.dumps({"model": "dev", "prompt": "go on", "max_tokens": 100_000, "stream": True}).encode()
    url = f"http://127.0.0.1:{agent['engine_port']}/v1/completions"
    first = urllib.request.urlopen(url, body, timeout=TIMEOUT_SECONDS)
    connection = socket.create_connection(("127.0.0.1", agent["engine_port"]))
    head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    until(lambda: client.read("127.0.0.1", agent["engine_port"]).get("num_requests_waiting") == 1)
    return first, connection


def reasons(agent):
    found = [*slow_inference.findings(agent, [])]
    assert all((each.code, each.agent) == ("slow_inference", "dev") and each.remedy for each in found)
    return [f"{each.text} {each.evidence}" for each in found]


def test_an_idle_engine_is_not_slow(serving):
    assert reasons(serving()) == []


def test_waiting_requests_are_reported_with_what_they_wait_for(serving):
    agent = serving()
    answers = send_two(agent)
    (told,) = reasons(agent)
    assert "max_num_seqs (1) requests run, and others wait" in told
    assert "1 requests run, 1 wait, KV cache 5 % full" in told
    for each in answers:
        each.close()


def test_a_full_cache_and_preemptions_are_reported(serving):
    agent = serving("--kv-use", "0.99", "--preemptions", "40")
    answers = send_two(agent)
    full, again = reasons(agent)
    assert "the KV cache is full" in full
    assert "KV cache 99 % full" in full
    assert "40 preemptions, 0 requests answered" in again
    for each in answers:
        each.close()


def test_an_engine_that_does_not_answer_has_no_findings():
    assert client.read("127.0.0.1", 1) == {}


def test_numbers_of_several_cores_add_up_and_shares_do_not():
    text = (
        'vllm:kv_cache_usage_perc{engine="0",model_name="dev"} 0.5\nvllm:kv_cache_usage_perc{engine="1"} 0.25\n'
        'vllm:request_success_total{engine="0",finished_reason="stop"} 7.0\n'
        'vllm:request_success_total{engine="0",finished_reason="length"} 1e+01\n# TYPE vllm:x gauge\n'
    )
    assert client.parse(text) == {"kv_cache_usage_perc": 0.5, "request_success_total": 17.0}


@pytest.mark.parametrize(
    ("config", "seconds", "part"),
    [
        ({"enforce-eager": True}, 0.10, "without CUDA graphs (enforce_eager)"),
        ({"enforce-eager": True}, 0.04, None),  # within the time of many concurrent requests
        ({}, 0.50, None),  # no known cause
    ],
)
def test_a_choice_is_a_reason_where_tokens_take_much_longer_than_the_card_needs(config, seconds, part):
    agent = {"name": "dev", "config": config, "fit": {"decode_ceiling_tokens_per_second": 53.2}}
    told = {"inter_token_latency_seconds_sum": 5000 * seconds, "inter_token_latency_seconds_count": 5000.0}
    found = [*slow_inference.of_choices(agent, slow_inference.Load.of(told))]
    assert [part in each.text for each in found] == ([True] if part else [])
    few = {"inter_token_latency_seconds_sum": 99.0, "inter_token_latency_seconds_count": 9.0}
    assert [*slow_inference.of_choices(agent, slow_inference.Load.of(few))] == []


@pytest.fixture
def loaded(tmp_path):
    """Load the stand-in's driver."""
    (tmp_path / "module/nvidia").mkdir(parents=True)
    (tmp_path / "module/nvidia/version").write_text("580.173.02\n")


@pytest.mark.parametrize(
    ("live", "told"),
    [
        ("97 61 179 180 180 0x4", []),  # at the vendor's own limit, which is normal
        ("97 61 119 120 180 0x4", ["its power limit is 120 W, and the maker's is 180 W"]),
        ("0 40 10 120 180 0x1", []),  # idle
        ("97 91 120 180 180 0x28", ["the hardware slows it down (heat or power supply)", "it is too hot"]),
        ("97 91 120 180 180 0x80", ["the power supply limits it"]),
    ],
)
def test_nvml_reports_why_a_card_is_slowed(loaded, ask, live, told):
    assert ask(THROTTLING, CARD, f"live 0 {live}", "busy 0 4242 35") == [told, {"4242": 35}]


def test_a_card_without_clock_reasons_has_no_finding(loaded, ask):
    assert ask(THROTTLING, CARD) == [[], None]


def test_a_lowered_clock_and_another_computing_process_are_findings():
    agent = {"name": "dev", "unit": "roundhouse-dev.service"}
    holders = [
        gpu_memory.Holder(1, "VLLM::EngineCore", "roundhouse-dev.service", 14.0),
        gpu_memory.Holder(2, "/usr/lib/xorg/Xorg", None, 1.3, desktop=True),
        gpu_memory.Holder(3, "ollama", "ollama.service", 0.4),
        gpu_memory.Holder(4, "python3", None, 2.0),
        gpu_memory.Holder(5, "firefox", None, 0.2, desktop=True),
    ]
    seen = slow_inference.Throttling(91.0, 120.0, 180.0, 180.0, 0x20, {1: 90, 2: 3, 3: 35, 5: 40})
    found = [*slow_inference.of_card(agent, gpu_memory.Card(0, 15.9, 15.5, holders), seen)]
    assert [each.evidence for each in found] == [
        "GPU 0 at 91 C, 120 W: clocks lowered, it is too hot",
        "GPU 0: ollama (pid 3) holds 0.4 GiB and computes 35 % of the time",
        "GPU 0: python3 (pid 4) holds 2.0 GiB",
        "GPU 0: firefox (pid 5) holds 0.2 GiB and computes 40 % of the time",
    ]
    assert [each.remedy for each in found[1:]] == [
        "If it is not needed there, stop it: `systemctl stop ollama.service`.",
        "If it is not needed there, stop it: `kill 4`.",
        "It belongs to the desktop: close its applications.",
    ]
