"""The checkup of a host: what is found by two ways is told once, and nothing is found where nothing is known."""

import pytest

from roundhouse import checkup, checkup_agent, journald, kernel_log, starts, status, units
from roundhouse.diagnosis import Finding

FACTS = {"gpus": [], "driver_version": None, "nvml": {"driver_version": None, "error": None}}
AGENT = {
    "name": "dev",
    "unit": "roundhouse-dev.service",
    "host": "127.0.0.1",
    "port": 1,
    "model": "/m",
    "model_path": "/m",
    "config_path": "/m",
    "environment": {},
}


def finding(cause, agent="dev", evidence="x"):
    return Finding(cause, agent, "sentence", evidence, "cure")


def test_the_first_of_two_findings_of_the_same_is_kept_and_reasons_of_slowness_all():
    found = [
        finding("port taken", evidence="a log"),
        finding("slow inference", evidence="heat"),
        finding("port taken", evidence="the host"),
        finding("port taken", agent="po"),
        finding("slow inference", evidence="a stranger"),
    ]
    kept = [(each.cause, each.agent, each.evidence) for each in checkup._once(found)]
    assert kept == [
        ("port taken", "dev", "a log"),
        ("slow inference", "dev", "heat"),
        ("port taken", "po", "x"),
        ("slow inference", "dev", "a stranger"),
    ]


def test_without_a_plan_the_kernels_word_is_told(monkeypatch):
    line = "NVRM: GPU 0000:01:00.0: RmInitAdapter failed! (0x26:0x65:0x1)"
    monkeypatch.setattr(kernel_log, "read", lambda: [journald.Entry(kernel_log.time.time(), line, {})])
    monkeypatch.setattr(checkup, "_STORE", "/nowhere")
    (found,) = checkup.examine(None, facts=FACTS)
    assert (found.cause, found.agent) == ("card lost", None)
    assert line in found.evidence


@pytest.fixture
def ready(monkeypatch):
    """Let dev be ready and well, as far as systemd and its engine say."""
    unit = units.Unit("ready", False, 0, None, "success", None, None, 0, False, None)
    monkeypatch.setattr(units, "show", lambda name: unit)
    monkeypatch.setattr(starts, "of", lambda name: starts.Past([]))
    monkeypatch.setattr(status, "rows", lambda plan: [{"problem": None, "drift": []}])
    monkeypatch.setattr(checkup_agent.weights, "problem", lambda folder: None)


@pytest.mark.parametrize(
    ("lines", "causes"),
    [
        (["ValueError: This model's maximum context length is 4096 tokens. However, your"], ["request too long"]),
        (["torch.OutOfMemoryError: CUDA out of memory."], []),  # what ended an engine is told when it has ended
        ([], []),
    ],
)
def test_of_a_serving_agents_log_only_its_clients_trouble_is_told(ready, monkeypatch, lines, causes):
    said = [journald.Entry(0, line, {}) for line in lines]
    monkeypatch.setattr(journald, "entries", lambda *matches, lines, fields=(): said)
    seen = checkup_agent.Seen(FACTS, [])
    assert [each.cause for each in checkup_agent.examine({"agents": [AGENT]}, AGENT, seen)] == causes
