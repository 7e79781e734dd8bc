"""The screens of watch: a terminal loses no text, and a log has a line for each change."""

import json
import time

import pytest

from roundhouse.agents import watch
from roundhouse.state import serving, switch_journal
from roundhouse.state.note import Note
from roundhouse.state.switch_journal import Switching

LONG = "about 41 s left, which stands at the end of a line that is longer than eighty columns are wide"
ROW = {
    "agent": "dev",
    "state": "ready",
    "port": 8001,
    "model": "Qwen/Qwen2.5-Coder-14B-Instruct-AWQ-of-some-length",
    "max_model_len": 16384,
    "running": 3,
    "waiting": 0,
    "kv_use": 0.42,
    "since": "2026-11-25T09:12:44Z",
    "drift": [],
    "problem": None,
    "crash": None,
}

CRASH = {
    "at": "2026-11-25T09:10:02Z",
    "count": 2,
    "cause": "no_cxx_compiler",
    "evidence": "InductorError: InvalidCxxCompiler: No working C++ compiler found",
    "restart_seconds": None,
}


def view(switch=None, killed=None, **row):
    return watch.View([ROW | row], [], switch, killed)


def starting(note, phase="start", step="", percent=None):
    return Switching("dev", 100.0, phase, note, step, percent)


def test_a_screen_of_80_columns_keeps_the_whole_text():
    drift = "its model is /var/lib/roundhouse/models/x, and /var/lib/roundhouse/models/y-that-is-longer is planned"
    text = watch.screen(view(starting(f"loading weights 42 %, {LONG}"), drift=[drift]), 80, now=112.0)
    assert max(map(len, text.splitlines())) <= 80
    joined = " ".join(text.split())
    assert f"switching to dev since 12 s, start: loading weights 42 %, {LONG}" in joined
    assert f"dev: {drift}" in joined
    assert "model: Qwen2.5-Coder-14B-Instruct-AWQ-of-some-length\n" in text


def test_the_screen_shows_a_killed_switch_or_none():
    assert "resume finishes" in watch.screen(view(killed="a switch to dev was killed: resume finishes it"), 80)
    assert watch.screen(view(), 80).endswith("no switch is running")


def loading(percent, left):
    return view(starting(f"loading weights {percent} %, about {left} s left", "start", "loading weights", percent))


@pytest.mark.parametrize(
    ("before", "after", "is_another"),
    [
        (loading(41, 30), loading(48, 20), False),
        (loading(41, 30), loading(52, 20), True),
        (loading(42, 9), view(starting("compiling, about 9 s left", step="compiling")), True),
        (view(starting("", "stop")), view(starting("", "free")), True),
        (view(starting("architect: 3 running", "stop")), view(starting("architect: 1 running", "stop")), False),
        (view(starting("compiling")), view(), True),
        (view(running=3), view(running=8, waiting=1, kv_use=0.6), False),
        (view(), view(waiting=4, kv_use=0.99), True),
        (view(), view(state="stopped"), True),
        (view(), view(drift=["its version is 1, and 2 is planned"]), True),
        (view(), view(problem="127.0.0.1:8001/version did not answer: timed out."), True),
        (view(), view(killed="a switch to dev was killed 3 min ago"), True),
        (view(), view(crash=CRASH), True),
        (view(crash=CRASH), view(crash=CRASH), False),
        (view(crash=CRASH), view(crash=CRASH | {"restart_seconds": 12.5}), True),
        (
            view(killed="a switch to dev was killed 3 min ago"),
            view(killed="a switch to dev was killed 4 min ago"),
            False,
        ),
    ],
)
def test_a_log_has_a_line_for_what_matters_and_none_for_seconds(before, after, is_another):
    assert (watch.milestone(before) != watch.milestone(after)) == is_another


def test_a_line_has_the_active_agent_the_switch_and_the_problems():
    told = watch.line(view(starting("loading weights 42 %, about 12 s left"), problem="no answer."), None, now=112.0)
    assert told == (
        "dev ready (3 running, 0 waiting, KV 42 %); switching to dev since 12 s, start: loading weights 42 %, "
        "about 12 s left; dev: no answer."
    )
    assert watch.line(view(state="stopped")) == "no agent"


READY = "dev ready (3 running, 0 waiting, KV 42 %)"


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (None, {"problem": "no answer."}, ["dev: no answer."]),
        ({}, {"problem": "no answer."}, ["dev: no answer."]),
        ({"problem": "no answer."}, {"problem": "no answer."}, []),
        ({"problem": "no answer."}, {"problem": "status 500."}, ["dev: status 500."]),
        ({"problem": "no answer."}, {}, ["dev: the problem ended"]),
        ({"drift": ["a", "b"]}, {"drift": ["b", "c"]}, ["dev: c", "dev: ended: a"]),
        ({"drift": ["a"]}, {"drift": ["a"], "problem": "no answer."}, ["dev: no answer."]),
        ({"crash": CRASH}, {"crash": CRASH}, []),
        ({"crash": CRASH}, {}, ["dev: no crash in the last 24 h"]),
    ],
)
def test_a_line_has_a_finding_only_after_it_appears_changes_or_ends(before, after, told):
    found = watch.line(view(**after), None if before is None else view(**before))
    assert found == "; ".join([READY, *told])


def test_a_restart_changes_the_sentence_of_a_crash_and_it_is_printed_once():
    restarted = view(crash=CRASH | {"restart_seconds": 12.5})
    assert "Its unit restarted it in 12.5 s." in watch.line(restarted, view(crash=CRASH))
    assert watch.line(restarted, restarted) == READY


def test_the_closed_port_of_an_engine_that_drains_is_not_a_finding():
    problem = "127.0.0.1:28001/v1/models did not answer: [Errno 111] Connection refused."
    closed = view(state="draining", running=None, problem=problem)
    assert watch.line(closed, view(state="draining")) == "dev draining"
    assert watch.milestone(closed) == watch.milestone(view(state="draining"))


def test_a_killed_switch_is_printed_once_and_its_end_once():
    killed = view(killed="a switch to dev was killed 3 min ago")
    assert watch.line(killed, view()) == f"{READY}; a switch to dev was killed 3 min ago"
    assert watch.line(killed, view(killed="a switch to dev was killed 2 min ago")) == READY
    assert watch.line(view(), killed) == f"{READY}; the killed switch is resolved"


def test_a_log_of_a_day_has_the_crash_once(monkeypatch):
    states = ["ready", "draining", "stopped", "starting", "ready"]
    views = iter([view(state=state, crash=CRASH) for state in states])
    monkeypatch.setattr(watch, "observe", lambda plan, cards: next(views))
    lines = []
    watch.watch(dict, 0.001, len(states), lines.append)
    assert len(lines) == len(states)
    assert [index for index, text in enumerate(lines) if "crashed" in text] == [0]


def test_the_switch_that_runs_is_read_from_its_journal(monkeypatch, tmp_path):
    monkeypatch.setattr(serving, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(serving, "FOLDER", tmp_path)
    before = time.time()
    log = switch_journal.Journal("dev", ["po"])
    assert switch_journal.running() is None
    with serving.switching(switch_journal.describe):
        assert switch_journal.running() is None  # it only checks so far
        log.begin()
        log.phase("start", {})
        log._noted = 0.0
        log.note(Note("graphs 42 %", "graphs", 42))
        seen = switch_journal.running()
        assert (seen.to, seen.phase, seen.note, seen.step, seen.percent) == (
            "dev",
            "start",
            "graphs 42 %",
            "graphs",
            42,
        )
        assert before <= seen.began <= time.time()
        switch_journal.path().write_text(json.dumps({"schema": 0}))
        assert switch_journal.running() is None
