"""The checkup of a host: what is found by two ways is told once, and nothing is found where nothing is known."""

from roundhouse.agents import kernel_log
from roundhouse.checkup import checkup
from roundhouse.doctor.diagnosis import Finding
from roundhouse.host import journal, systemd

FACTS = {"gpus": [], "driver_version": None, "nvml": {"driver_version": None, "error": None}}


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
    monkeypatch.setattr(kernel_log, "read", lambda: [journal.Entry(kernel_log.time.time(), line, {})])
    monkeypatch.setattr(checkup, "_STORE", "/nowhere")
    (found,) = checkup.examine(None, facts=FACTS)
    assert (found.cause, found.agent) == ("card lost", None)
    assert line in found.evidence


def test_a_gateway_that_is_down_is_told(monkeypatch):
    monkeypatch.setattr(systemd, "state", {"roundhouse-gateway.service": "failed"}.get)
    (found,) = checkup._gateway({"gateway_port": 8080})
    assert (found.cause, found.evidence) == ("gateway down", "roundhouse-gateway.service is failed")
    assert list(checkup._gateway({"gateway_port": None})) == []
    monkeypatch.setattr(systemd, "state", {"roundhouse-gateway.service": "ready"}.get)
    assert list(checkup._gateway({"gateway_port": 8080})) == []
