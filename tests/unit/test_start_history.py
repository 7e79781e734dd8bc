"""A unit's starts and the cause of the last failure, from systemd's records of lab units (tests/fixtures/journal)."""

import json

import pytest

from roundhouse.agents import start_history
from roundhouse.agents.start_history import Past, Start
from roundhouse.host import journal, systemd
from roundhouse.paths import CHECKOUT
from roundhouse.state import history, serving

RECORDS = CHECKOUT / "tests/fixtures/journal"
AGENT = {"name": "dev", "unit": "roundhouse-dev.service"}
STOPPED = systemd.Unit("stopped", False, 0, None, "success", None, None, 0, False, None)
OUT_OF_MEMORY = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."


def events(name):
    found = [json.loads(line) for line in (RECORDS / f"{name}.jsonl").read_text().splitlines()]
    return [journal._entry(each, start_history._FIELDS) for each in found]


def past(*names):
    return start_history.past([event for name in names for event in events(name)])


def start(at, *, ready=False, result="exit-code"):
    return Start(str(at), at, ready=ready, failed=not ready, ended=at + 1, result=result, exit_status=1)


@pytest.fixture(autouse=True)
def logs(monkeypatch, tmp_path):
    """Give each start the same log; return the history's list."""
    monkeypatch.setattr(serving, "FOLDER", tmp_path)
    monkeypatch.setattr(journal, "of_start", lambda invocation, lines: [OUT_OF_MEMORY])
    monkeypatch.setattr(journal, "log_of_this_start", lambda unit: ["KeyError: 'it'"])


def test_a_start_that_failed_is_known_once_its_unit_is_quiet():
    failed = past("start-failed").last_failed()
    assert (failed.ready, failed.failed, failed.result, failed.exit_status) == (False, True, "exit-code", 1)
    found = start_history.last(AGENT, STOPPED, past("start-failed"), [])
    assert (found.code, found.evidence) == ("out_of_memory", OUT_OF_MEMORY)
    assert "Its last start, at 2026-11-25 " in found.text
    assert found.text.endswith("failed. The GPU's memory did not hold the model and its work space.")


def test_a_start_that_was_too_slow_is_known():
    failed = past("too-slow").last_failed()
    assert (failed.result, failed.exit_status) == ("timeout", 1)  # of the engine, not of the process that waited for it


def test_a_later_successful_start_clears_the_finding():
    assert past("start-failed", "mended").last_failed() is None
    assert start_history.last(AGENT, STOPPED, past("start-failed", "mended"), []) is None
    assert start_history.last(AGENT, STOPPED, past("mended", "too-slow"), []) is not None


def test_an_engine_killed_or_asked_to_stop_did_not_fail():
    (forced,) = past("ended-by-force").starts
    assert (forced.ready, forced.asked_to_stop, forced.failed, forced.exit_status) == (True, True, False, None)
    (stopped,) = past("stopped-on-its-way").starts
    assert (stopped.ready, stopped.failed, stopped.result) == (False, False, "signal")
    assert past("stopped-on-its-way").last_failed() is None
    assert past("stopped-on-its-way").crashes(0) == []
    for record in ("stopped-on-its-way", "ended-by-force"):
        assert start_history.last(AGENT, STOPPED._replace(state="failed"), past(record), []) is None


def test_an_agent_that_ended_for_good_is_reported_from_systemds_state():
    served = past("ends-while-it-serves")
    found = start_history.last(AGENT, STOPPED._replace(state="failed", exit_status=2), served, [])
    assert (found.code, found.evidence) == ("unknown", "KeyError: 'it'")


def test_a_refusal_after_too_many_starts_has_the_log_of_the_one_before():
    name = events("start-failed")[0].fields["INVOCATION_ID"]  # a refusal has this ID
    refused = [each._replace(fields=each.fields | {"INVOCATION_ID": name}) for each in events("refused")]
    seen = start_history.past([*events("start-failed"), *refused])
    (failed,) = seen.starts
    assert failed == past("start-failed").starts[0]._replace(given_up=True)
    found = start_history.last(AGENT, STOPPED._replace(state="failed"), seen, [])
    assert found.code == "out_of_memory"
    assert found.text.startswith("systemd gave it up after too many starts.")


@pytest.mark.parametrize(
    ("record", "unit", "told"),
    [
        ("starts-that-fail", {"state": "starting", "restarts": 3}, True),
        ("starts-that-fail", {"state": "starting", "restarting": True, "restarts": 3}, True),
        ("starts-that-fail", {"state": "starting", "restarts": 1}, False),
        ("starts-that-fail", {"state": "ready", "restarts": 4}, False),  # the starts have ended
        ("ends-while-it-serves", {"state": "ready", "restarts": 2}, True),
        ("ends-while-it-serves", {"state": "starting", "restarting": True, "restarts": 2}, True),
        ("ends-while-it-serves", {"state": "stopped", "restarts": 2}, False),
    ],
)
def test_a_crash_loop_is_seen_whatever_the_unit_does_right_now(record, unit, told, monkeypatch):
    seen = past(record)
    monkeypatch.setattr(start_history.time, "time", lambda: seen.starts[-1].began + 60)
    found = start_history.loop(AGENT, STOPPED._replace(**unit), seen, [])
    assert bool(found) == told
    if told:
        assert found.code == "out_of_memory"
        assert f"crashes repeatedly ({unit['restarts']} restarts, its last end at 2026-" in found.text


def test_an_old_crash_loop_is_not_reported_and_an_unknown_cause_is_stated(monkeypatch):
    seen = past("ends-while-it-serves")
    ready = STOPPED._replace(state="ready", restarts=2)
    monkeypatch.setattr(start_history.time, "time", lambda: seen.starts[-1].began + 3600)
    assert start_history.loop(AGENT, ready, seen, []) is None
    found = start_history.loop(AGENT, ready._replace(state="starting"), Past([]), [])
    assert (found.code, found.evidence) == ("crash_loop", "KeyError: 'it'")


def entry(outcome, cause, code=None, cause_code=None, *, began=1000.0):
    history.add(history.Entry(began, ["po"], "dev", outcome, {}, 0, cause, code, cause_code))


RUBBISH = "dev answered '!!!!!!!!', which is not text."


@pytest.mark.parametrize(
    ("outcome", "cause", "codes", "told"),
    [
        (history.ROLLED_BACK, RUBBISH, ["canary"], "canary_failed"),
        (history.ROLLBACK_FAILED, RUBBISH, ["canary_changed"], "canary_failed"),
        (history.ROLLED_BACK, RUBBISH, [], "unknown"),  # an entry of an older version
        (history.ROLLED_BACK, "dev takes 14.5 GiB", ["memory_not_freed"], "memory_held"),
        (
            history.ROLLED_BACK,
            f"dev did not start: {OUT_OF_MEMORY}",
            ["start_failed", "out_of_memory"],
            "out_of_memory",
        ),
        # The cause is not read from Roundhouse's own sentence, as in an entry of an older version.
        (history.ROLLED_BACK, f"dev did not start: {OUT_OF_MEMORY}", ["start_failed"], "unknown"),
        (history.ROLLBACK_FAILED, RUBBISH, ["rollback_failed", "canary_no_text"], "canary_failed"),
        (history.ROLLED_BACK, "ZeroDivisionError('x')", ["unexpected"], "unknown"),
        (history.ROLLED_BACK, "The switch was ended by a signal.", ["interrupted"], None),
        (history.REFUSED, "Port 8001 of dev is used by x", ["port_in_use"], None),
        (history.DONE, None, [], None),
        (history.KILLED, "killed in its phase start", [], None),
    ],
)
def test_without_a_failed_start_in_the_journal_the_history_is_used(outcome, cause, codes, told):
    entry(outcome, cause, *codes)
    found = start_history.last(AGENT, STOPPED, Past([start(1000, ready=True)]), [])
    assert (found.code if found else None) == told
    if found:
        assert found.evidence == (f"{cause} [{codes[0]}]" if codes else cause)
        assert found.text.startswith("The last switch to it, at ")


def test_a_later_successful_switch_or_start_clears_the_finding():
    entry(history.ROLLED_BACK, RUBBISH, "canary")
    canary = start(1000, ready=True)
    assert start_history.last(AGENT, STOPPED, Past([canary]), []).code == "canary_failed"
    assert start_history.last(AGENT, STOPPED, Past([canary, start(2000, ready=True)]), []) is None
    assert start_history.last(AGENT, STOPPED, Past([start(1000), start(2000, ready=True)]), []) is None
    entry(history.DONE, None, began=3000)
    assert start_history.last(AGENT, STOPPED, Past([canary]), []) is None


def test_the_newer_of_journal_and_history_is_reported():
    entry(history.ROLLED_BACK, RUBBISH, "canary")
    assert start_history.last(AGENT, STOPPED, Past([start(2000)]), []).code == "out_of_memory"
    older = Past([start(10), start(1000, ready=True)])
    assert start_history.last(AGENT, STOPPED, older, []).code == "canary_failed"


def test_without_a_journal_systemds_state_is_used():
    broken = STOPPED._replace(state="failed", exit_status=1, result="exit-code")
    assert start_history.last(AGENT, broken, Past([]), []).evidence == "KeyError: 'it'"
    assert start_history.last(AGENT, STOPPED, Past([]), []) is None


def test_the_kernels_word_for_a_start_is_its_cause():
    (failed,) = past("start-failed").starts
    killed = (
        "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),task_memcg=/system.slice/roundhouse-dev.service,task=vllm,pid=7",
        "Out of memory: Killed process 7 (vllm) total-vm:1kB",
    )
    kernel = [journal.Entry(failed.began, line, {}) for line in killed]
    found = start_history.last(AGENT, STOPPED, Past([failed]), kernel)
    assert (found.code, found.evidence) == ("host_out_of_memory", killed[1])
