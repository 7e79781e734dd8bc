"""Who serves outlives the process; the lock does not."""

import os
import signal
import subprocess
import sys
import time

import pytest

from roundhouse import state
from roundhouse.errors import RoundhouseError


def test_nobody_served_yet(tmp_path):
    assert state.serving(tmp_path / "serving.json") == []


def test_the_last_of_each_card_is_kept(tmp_path):
    path = tmp_path / "serving.json"
    state.record("architect", ["dev"], path)
    state.record("other-card", [], path)
    state.record("dev", ["architect"], path)
    assert state.serving(path) == ["dev", "other-card"]


def test_a_damaged_state_says_what_to_do(tmp_path):
    path = tmp_path / "serving.json"
    path.write_text("{")
    with pytest.raises(RoundhouseError, match="delete it and switch again"):
        state.serving(path)


def test_a_second_switch_is_told_of_the_first(tmp_path):
    lock = tmp_path / "switch.lock"
    told = pytest.raises(RoundhouseError, match=rf"to dev, pid {os.getpid()}")
    with state.switching("dev", lock), told, state.switching("po", lock):
        pass
    with state.switching("po", lock):
        pass


def test_a_killed_switch_keeps_no_lock(tmp_path):
    lock = tmp_path / "switch.lock"
    code = f"""
import pathlib, time
from roundhouse import state
with state.switching("dev", pathlib.Path({str(lock)!r})):
    print("held", flush=True)
    time.sleep(60)
"""
    environment = os.environ | {"PYTHONPATH": "scripts"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RoundhouseError), state.switching("po", lock):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    end = time.monotonic() + 5
    while True:
        try:
            with state.switching("po", lock):
                return
        except RoundhouseError:
            assert time.monotonic() < end


def test_an_agent_that_came_back_to_the_roster_does_not_stand_before_the_newest(tmp_path):
    path = tmp_path / "serving.json"
    state.record("po", ["architect", "dev"], path)
    state.record("architect", ["dev"], path)  # po has left the roster, so nobody excludes it
    assert state.serving(path)[0] == "architect"
