"""The checkup of a host reports a finding from two sources once, and nothing if nothing is known."""

import gpu_facts

from roundhouse.agents import kernel_log
from roundhouse.checkup import checkup
from roundhouse.doctor.diagnosis import Finding
from roundhouse.host import journal, systemd

FACTS = {"gpus": [], "driver_version": None, "nvml": {"driver_version": None, "error": None}}


def finding(code, agent="dev", evidence="x"):
    return Finding(code, agent, "text", evidence, "remedy")


def test_the_first_of_two_findings_of_the_same_is_kept_and_reasons_of_slowness_all():
    found = [
        finding("port_in_use", evidence="a log"),
        finding("slow_inference", evidence="heat"),
        finding("port_in_use", evidence="the host"),
        finding("port_in_use", agent="po"),
        finding("slow_inference", evidence="a stranger"),
    ]
    kept = [(each.code, each.agent, each.evidence) for each in checkup._once(found)]
    assert kept == [
        ("port_in_use", "dev", "a log"),
        ("slow_inference", "dev", "heat"),
        ("port_in_use", "po", "x"),
        ("slow_inference", "dev", "a stranger"),
    ]


def test_without_a_plan_the_kernels_message_is_reported(monkeypatch):
    line = "NVRM: GPU 0000:01:00.0: RmInitAdapter failed! (0x26:0x65:0x1)"
    monkeypatch.setattr(kernel_log, "read", lambda: [journal.Entry(kernel_log.time.time(), line, {})])
    monkeypatch.setattr(checkup, "_STORE", "/nowhere")
    (found,) = checkup.examine(None, facts=FACTS)
    assert (found.code, found.agent) == ("card_lost", None)
    assert line in found.evidence


def test_a_gateway_that_is_down_is_reported(monkeypatch):
    monkeypatch.setattr(systemd, "state", {"roundhouse-gateway.service": "failed"}.get)
    (found,) = checkup._gateway({"gateway_port": 8080})
    assert (found.code, found.evidence) == ("gateway_down", "roundhouse-gateway.service is failed")
    assert list(checkup._gateway({"gateway_port": None})) == []
    monkeypatch.setattr(systemd, "state", {"roundhouse-gateway.service": "ready"}.get)
    assert list(checkup._gateway({"gateway_port": 8080})) == []


def test_a_card_that_is_only_too_old_for_agents_gives_no_finding():
    old = gpu_facts.driven(0, device_id="1b80", compute_capability=[6, 1])
    assert list(checkup._cards(None, gpu_facts.answered(old, gpu_facts.driven(1)))) == []
    assert [found.code for found in checkup._cards(None, gpu_facts.answered(gpu_facts.lost()))] == ["card_lost"]
