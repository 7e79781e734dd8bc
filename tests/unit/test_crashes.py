"""A crash is in the history, and status, doctor and history agree about it."""

import json
import time

import pytest

from roundhouse.agents import (
    answers,
    crash_report,
    crashes,
    engine_end,
    gpu_memory,
    kernel_log,
    start_history,
    status,
    watchdog,
)
from roundhouse.checkup import agent as checkup_agent
from roundhouse.checkup import checkup
from roundhouse.host import journal, systemd
from roundhouse.paths import CHECKOUT
from roundhouse.plan import deployed
from roundhouse.state import history, serving, switch_journal
from roundhouse.util import timestamps

UNIT = "roundhouse-dev.service"
AGENT = {
    **{"name": "dev", "unit": UNIT, "host": "127.0.0.1", "port": 9, "engine_port": 9, "model": "/m"},
    **{"model_path": "/m", "conflicts": [], "config_path": "/c", "environment": {}, "config": {}, "gpus": []},
}
PLAN = {"schema": 1, "accelerator": "cpu", "engine_path": "/e", "agents": [AGENT]}
LOG = (CHECKOUT / "tests/fixtures/logs/no-compiler.log").read_text().splitlines()
RUNS = systemd.Unit("ready", False, 1, None, "success", "Sun 2026-11-29 15:45:32 UTC", 7, 0, False, "b")
# What systemd sets for ExecStopPost= of an engine that died at run time: vLLM then exits with 0.
DIED = {"INVOCATION_ID": "a", "SERVICE_RESULT": "success", "EXIT_CODE": "exited", "EXIT_STATUS": "0"}
KILLED = DIED | {"SERVICE_RESULT": "signal", "EXIT_CODE": "killed", "EXIT_STATUS": "KILL"}
FACTS = {"gpus": [], "driver_version": None, "nvml": {"driver_version": None, "error": None}}


@pytest.fixture(autouse=True)
def host(monkeypatch, tmp_path):
    """Put a systemctl on the path that lists the jobs of a file, and return that file; the engine logged LOG."""
    jobs = tmp_path / "jobs"
    jobs.touch()
    program = tmp_path / "bin/systemctl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\ntest "$1" = list-jobs && cat {jobs}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setattr(serving, "FOLDER", tmp_path / "state")
    monkeypatch.setattr(serving, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(deployed, "PATH", tmp_path / "plan.json")
    monkeypatch.setattr(kernel_log, "read", list)
    monkeypatch.setattr(watchdog, "log_between", lambda agent, began, ended: [])
    monkeypatch.setattr(start_history, "of", lambda unit: start_history.Past([start_history.Start("a", 1.0, True)]))
    monkeypatch.setattr(journal, "of_start", lambda invocation, lines: LOG if invocation == "a" else [])
    return jobs


def test_an_engine_that_ends_by_itself_is_in_the_history_with_its_cause():
    engine_end.record(PLAN, "dev", DIED)
    (entry,) = history.load()
    assert (entry.outcome, entry.to, entry.code, entry.cause_code) == (
        history.CRASHED,
        "dev",
        crashes.CODE,
        "no_cxx_compiler",
    )
    assert "InvalidCxxCompiler" in entry.cause


def test_a_kill_by_a_signal_is_recorded_with_the_last_log_line(monkeypatch):
    monkeypatch.setattr(journal, "of_start", lambda invocation, lines: ["INFO: 200 OK"])
    entry = engine_end.record(PLAN, "dev", KILLED)
    assert entry.cause_code == "unknown"
    assert entry.cause == "SIGKILL ended it; the last error or line of its log: INFO: 200 OK"


@pytest.mark.parametrize("kind", ["stop", "restart"])
def test_an_engine_that_was_asked_to_stop_did_not_crash(host, kind):
    host.write_text(f"1234 {UNIT} {kind} running\n")
    assert engine_end.record(PLAN, "dev", KILLED) is None
    assert history.load() == []


def test_a_failed_restart_is_a_crash_and_a_failed_start_of_a_switch_is_not(host):
    host.write_text(f"1234 {UNIT} start running\n77 roundhouse-po.service stop waiting\n")
    log = switch_journal.Journal("dev", [])
    with serving.switching(switch_journal.describe):
        log.begin()
        assert engine_end.record(PLAN, "dev", DIED) is None
        log.end()
    assert engine_end.record(PLAN, "dev", DIED).outcome == history.CRASHED


def test_the_history_knows_whether_the_unit_restarted_it():
    began = engine_end.record(PLAN, "dev", DIED).began
    assert crash_report.of_last_day()["dev"].restart_seconds is None
    history.note_restart("po", began + 5)
    history.note_restart("dev", began + 55)
    history.note_restart("dev", began + 99)  # a later start by hand is not its restart
    assert crash_report.of_last_day()["dev"].restart_seconds == 55


def seen(monkeypatch, unit=RUNS):
    """Return what status, doctor and history report about the agent, whose engine is ready."""
    monkeypatch.setattr(systemd, "show_all", lambda names: [unit for _ in names])
    monkeypatch.setattr(systemd, "show", lambda name: unit)
    monkeypatch.setattr(answers, "drift", lambda *_: [])
    monkeypatch.setattr(answers.Engine, "served", lambda *_: [])
    monkeypatch.setattr(answers.Engine, "version", lambda *_: "1")
    monkeypatch.setattr(gpu_memory, "cards", lambda *_: [])
    monkeypatch.setattr(checkup_agent.safetensors, "problem", lambda path: None)
    monkeypatch.setattr(checkup, "_disks", list)
    monkeypatch.setattr(checkup, "_STORE", "/nowhere")
    (row,) = status.rows(PLAN)
    found = [each for each in checkup.examine(PLAN, facts=FACTS) if each.code != "slow_inference"]
    return row, found, history.load()


def test_status_doctor_and_history_agree(monkeypatch):
    row, found, entries = seen(monkeypatch)
    assert (row["crash"], found, entries) == (None, [], [])
    assert checkup.text(found).startswith("No problem")

    at = engine_end.record(PLAN, "dev", DIED).began
    engine_end.record(PLAN, "dev", DIED)
    history.note_restart("dev", time.time() + 3)
    row, found, entries = seen(monkeypatch)
    assert (row["crash"]["count"], row["crash"]["cause"]) == (2, "no_cxx_compiler")
    assert at - 1 <= timestamps.of_utc(row["crash"]["at"]) <= at + 60
    assert "dev crashed 2 times in the last 24 h" in status.text([row], [], None)
    (crash,) = found
    assert (crash.code, crash.agent) == ("no_cxx_compiler", "dev")
    assert "apt-get install g++" in crash.remedy
    assert "InvalidCxxCompiler" in crash.evidence
    assert [each["outcome"] for each in history.table(entries)] == ["crashed", "crashed"]


def test_a_crash_is_no_longer_reported_after_a_day_or_without_its_agent(monkeypatch):
    entry = engine_end.record(PLAN, "dev", DIED)
    assert crash_report.of_last_day(entry.began + 86000).keys() == {"dev"}
    assert crash_report.of_last_day(entry.began + 87000) == {}
    assert crashes.findings(PLAN, entry.began + 87000) == []
    assert crashes.findings({"agents": [AGENT | {"name": "po"}]}, entry.began) == []


def test_doctor_reports_a_failover_of_the_last_day():
    now = time.time()
    cause = "dev was given up, out_of_memory: CUDA out of memory"
    history.add(
        history.Entry(now, ["dev"], "architect", history.FAILED_OVER, {}, 0, cause, "given_up", "out_of_memory")
    )
    (found,) = crashes.findings(PLAN, now + 60)
    assert (found.code, found.agent) == ("out_of_memory", "dev")
    assert "architect was started in its place" in found.text
    assert crashes.findings(PLAN, now + 87000) == []


def test_doctor_reports_a_rolled_back_deployment_until_one_succeeds(monkeypatch):
    now = time.time()
    failed = history.Entry(
        now, ["dev"], "dev", history.ROLLED_BACK, {}, 0, "dev did not start", "start_failed", "out_of_memory"
    )
    history.add(failed)
    _, (found,), _ = seen(monkeypatch)
    assert (found.code, found.agent, found.evidence) == ("out_of_memory", "dev", "dev did not start [start_failed]")
    assert found.text.startswith("A switch to dev, or a deployment of it, failed at 2")
    assert crashes.findings(PLAN, now + 87000) == []
    history.add(failed._replace(outcome=history.DONE, cause=None, code=None, cause_code=None))
    assert crashes.findings(PLAN, now) == []
    history.add(failed._replace(outcome=history.ROLLBACK_FAILED, code="rollback_failed", cause_code="interrupted"))
    assert crashes.findings(PLAN, now) == []


def test_crashes_do_not_push_the_switches_out_of_the_history():
    for number in range(history.KEEP):
        history.add(history.Entry(number, [], "dev", history.DONE, {}, 0, None))
    for _ in range(history.KEEP_CRASHES + 5):
        engine_end.record(PLAN, "dev", DIED)
    outcomes = [each.outcome for each in history.load()]
    assert (outcomes.count(history.DONE), outcomes.count(history.CRASHED)) == (history.KEEP, history.KEEP_CRASHES)


def test_times_are_iso_8601_in_json_and_local_in_text(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        row, _, _ = seen(monkeypatch, RUNS._replace(since="Sun 2026-11-29 16:45:32 CET"))
        assert row["since"] == "2026-11-29T15:45:32Z"
        assert "2026-11-29 16:45:32" in status.table([row])
        entry = history.Entry(1795966178.17849, [], "dev", history.DONE, {}, 0, None)
        assert entry.as_json()["began"] == "2026-11-29T15:29:38Z"
        assert history.table([entry])[0]["when"] == "2026-11-29 16:29:38"
        # The hour that comes twice: its zone says which of the two it is.
        assert timestamps.of_systemd("Sun 2026-10-25 02:30:00 CET") == 3600 + timestamps.of_systemd(
            "Sun 2026-10-25 02:30:00 CEST"
        )
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_history_of_an_older_version_is_read():
    serving.make_folder()
    old = {"began": 1.5, "previous": [], "to": "dev", "outcome": "back", "stages": {}, "cut": 0, "cause": "x"}
    history.path().write_text(json.dumps(old) + "\n")
    engine_end.record(PLAN, "dev", DIED)
    assert [each.outcome for each in history.load()] == [history.ROLLED_BACK, history.CRASHED]


def test_an_agent_that_a_rollback_removed_has_no_row(monkeypatch):
    gone = systemd.RoundhouseError("unit_not_loaded", "systemd has not loaded it.")
    monkeypatch.setattr(systemd, "show_all", lambda names: [gone])
    assert status.rows(PLAN)[0]["problem"] == "systemd has not loaded it."  # no plan says otherwise
    deployed.PATH.write_text(json.dumps(PLAN | {"agents": [AGENT | {"name": "po"}]}))
    assert status.rows(PLAN) == []


def test_on_a_cpu_host_a_missing_card_is_not_a_finding():
    row = {"part": "driver", "state": "no_gpu", "ok": False, "text": "No NVIDIA GPU.", "remedy": "Seat the card."}
    (shown,) = checkup.of_plan([row], PLAN)
    assert (shown["ok"], shown["state"], shown["remedy"]) == (True, "not needed", "")
    assert checkup.of_driver([shown], FACTS) is None
    assert checkup.of_plan([row], PLAN | {"accelerator": "cuda"}) == checkup.of_plan([row], None) == [row]
