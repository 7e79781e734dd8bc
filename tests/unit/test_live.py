"""The progress of a command: after ten silent seconds the state of the switch, and none without a switch."""

import time

import pytest
from clock import until

from roundhouse.cli import live
from roundhouse.state import note, switch_journal
from roundhouse.state.note import Note
from roundhouse.state.switch_journal import Switching


@pytest.fixture
def running(monkeypatch):
    """Return a function that sets the switch that runs, with a short silence."""
    monkeypatch.setattr(live, "QUIET_SECONDS", 0.05)
    monkeypatch.setattr(live, "_LOOK_SECONDS", 0.01)
    return lambda found: monkeypatch.setattr(switch_journal, "running", lambda: found)


def test_a_silent_switch_prints_its_state(running):
    running(Switching("dev", 0.0, "start", "loading vLLM, about 9 s left"))
    said = []
    with live.progress(said.append) as report:
        report("starting dev")
        until(lambda: len(said) > 1)
    assert said[:2] == ["starting dev", "starting dev: loading vLLM, about 9 s left"]


@pytest.mark.parametrize("phase", ["check", "stop", "free", "start", "canary", "commit", "place", "rollback"])
def test_a_phase_is_written_out_with_its_note(running, phase):
    running(Switching("dev", 0.0, phase, ""))
    words = live.doing()
    assert " " in words
    running(Switching("dev", 0.0, phase, "po: 2 running requests"))
    assert live.doing() == f"{words}: po: 2 running requests"


def test_the_process_behind_the_control_service_adds_nothing(running):
    running(Switching("dev", 0.0, "start", "loading vLLM"))
    said = []
    with live.progress(said.append, adds=False) as report:
        report("starting dev")
        time.sleep(0.1)
    assert said == ["starting dev"]


def test_without_a_switch_nothing_is_added(running):
    running(None)
    said = []
    assert live.doing() is None
    with live.progress(said.append) as report:
        report("measuring")
    assert said == ["measuring"]


def test_the_notes_of_a_drain_are_reported_every_ten_seconds(clock):
    now, said = clock(note), []
    told = note.now_and_then(said.append)
    for count in range(26):
        told(Note(f"{count} requests"))
        now.sleep(1)
    assert said == ["10 requests", "20 requests"]
