"""Kernel messages about cards and memory: real lines from a stand-in for journalctl."""

import json
import stat
import time

import pytest

from roundhouse.agents import kernel_log
from roundhouse.host import journal

NOW = 1_764_000_000.0
FALLEN = "NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus."
FOLLOWS = "NVRM: Xid (PCI:0000:01:00): 45, pid='<unknown>', name=<unknown>, Ch 00000008"
FAULT = "NVRM: Xid (PCI:0000:2b:00): 43, pid=146239, name=VLLM::Worker, channel 0x00000008"
ROW = "NVRM: Xid (PCI:0000:10:1c): 63, pid=1896, Row Remapper: New row marked for remapping, reset gpu to activate."
MISMATCH = "NVRM: API mismatch: the client has the version 595.84, but this kernel module has the version 595.71.05."
KILLED = (
    "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=roundhouse-dev.service,mems_allowed=0,global_oom,"
    "task_memcg=/system.slice/roundhouse-dev.service,task=VLLM::EngineCor,pid=2092,uid=997",
    "Out of memory: Killed process 2092 (VLLM::EngineCor) total-vm:25460480kB, anon-rss:16656200kB, file-rss:936kB, "
    "shmem-rss:0kB, UID:997 pgtables:38108kB oom_score_adj:0",
)
OTHERS = KILLED[0].replace("roundhouse-dev.service", "newshive.service").replace("VLLM::EngineCor", "uvicorn")


def said(*lines, ago=60.0):
    return [journal.Entry(NOW - ago + index, line, {}) for index, line in enumerate(lines)]


def causes(lines, *, driver_answers=True):
    return [each.code for each in kernel_log.findings(lines, driver_answers=driver_answers, now=NOW)]


def test_a_burst_is_one_finding_with_its_first_line():
    (found,) = kernel_log.findings(said(FALLEN, FOLLOWS, FOLLOWS), driver_answers=False, now=NOW)
    assert (found.code, found.agent) == ("card_lost", None)
    assert found.evidence.endswith(FALLEN)
    assert found.evidence[:2] == "20"  # the year of the entry


@pytest.mark.parametrize(
    ("lines", "answers", "expected"),
    [
        (said(FOLLOWS), True, []),
        (said(ROW), True, ["card_memory_faulty"]),
        (said(FAULT), True, ["engine_fault_on_card"]),
        (said(FAULT, ago=2 * 3600), True, []),
        (said(FALLEN, ago=30 * 3600), True, []),
        (said(MISMATCH), False, ["driver_mismatch"]),
        (said(MISMATCH), True, []),  # it was reloaded later
        (said(*KILLED), True, []),  # the agent's own finding
        (said(OTHERS, *KILLED[1:]), True, []),
        (said(KILLED[0].replace("roundhouse-dev.service", "docker-1.scope"), KILLED[1]), True, ["host_out_of_memory"]),
        (said("NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64 580.82.07"), True, []),
    ],
)
def test_findings_of_the_host(lines, answers, expected):
    assert causes(lines, driver_answers=answers) == expected


def test_a_start_has_findings_only_of_its_processes_and_cards():
    lines = said(OTHERS, *KILLED, FAULT)
    began = lines[0].at
    assert kernel_log.of_unit(lines, "roundhouse-dev.service", began, began + 3) == [KILLED[1], FAULT]
    assert kernel_log.of_unit(lines, "roundhouse-po.service", began, began + 3) == [FAULT]
    assert kernel_log.of_unit(lines, "roundhouse-dev.service", began + 100, None) == []


@pytest.fixture
def journalctl(tmp_path, monkeypatch):
    """Put a journalctl on the PATH that records its arguments and prints these entries."""

    def put(*entries):
        answer = "\n".join(json.dumps(each) for each in entries)
        (tmp_path / "answer").write_text(answer + "\n-- no object\n")
        program = tmp_path / "journalctl"
        program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/words\ncat {tmp_path}/answer\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        return tmp_path / "words"

    return put


def test_the_query_is_bounded_and_its_result_is_in_order(journalctl):
    second = int(time.time() * 1e6)
    words = journalctl(
        {"__REALTIME_TIMESTAMP": str(second), "MESSAGE": FALLEN},
        {"__REALTIME_TIMESTAMP": str(second - 9), "MESSAGE": [*"Xid \xff".encode("latin-1")]},
        {"__REALTIME_TIMESTAMP": str(second - 10), "MESSAGE": None},
    )
    assert [each.text for each in kernel_log.read()] == ["", "Xid \ufffd", FALLEN]
    asked = words.read_text()
    assert "--dmesg" in asked
    assert "--lines 500" in asked
    assert "--grep NVRM|" in asked


def test_without_a_journal_the_kernel_log_is_empty(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert kernel_log.read() == []
