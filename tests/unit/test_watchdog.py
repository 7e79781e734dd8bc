"""The watchdog kills an engine after three consecutive failed checks in one start, and never during a switch."""

import pytest

from roundhouse.agents import watchdog
from roundhouse.doctor import cause
from roundhouse.host import systemd
from roundhouse.state import serving

AGENT = {"name": "dev", "unit": "roundhouse-dev.service", "host": "127.0.0.1", "engine_port": 1}


class Host:
    """A replacement of systemd and the engine, with answers for a case."""

    def __init__(self):
        self.state, self.invocation, self.pending, self.alive = "ready", "first", False, False
        self.killed, self.said = [], []

    def show(self, name):
        """Return the current state of the unit."""
        return systemd.Unit(
            state=self.state,
            restarting=False,
            restarts=0,
            exit_status=None,
            result="success",
            since=None,
            main_pid=1,
            started_monotonic_usec=0,
            pending=self.pending,
            invocation=self.invocation,
        )


@pytest.fixture
def host(monkeypatch, tmp_path):
    host = Host()
    monkeypatch.setattr(systemd, "show", host.show)
    monkeypatch.setattr(systemd, "kill", host.killed.append)
    monkeypatch.setattr(watchdog, "is_alive", lambda agent, before, seconds: (host.alive, None))
    monkeypatch.setattr(serving, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(serving, "FOLDER", tmp_path)
    return host


@pytest.fixture
def rounds(host):
    """Return a function that runs a number of rounds of the watchdog."""
    host.recoveries = []
    one = watchdog.Watchdog(AGENT, host.said.append, lambda: host.recoveries.append("due"))
    return lambda count: [one.round() for _ in range(count)]


def test_the_third_failure_in_a_row_ends_the_engine(host, rounds):
    rounds(2)
    assert host.killed == []
    rounds(1)
    assert host.killed == ["roundhouse-dev.service"]
    assert host.said[-1].startswith("dev hangs: ")
    assert cause.code_of(host.said[-1]) == watchdog.HANGS


def test_one_successful_check_resets_the_count(host, rounds):
    rounds(2)
    host.alive = True
    rounds(1)
    host.alive = False
    rounds(2)
    assert host.killed == []


def test_failures_of_an_earlier_start_do_not_count(host, rounds):
    rounds(2)
    host.invocation = "second"
    rounds(2)
    assert host.killed == []


@pytest.mark.parametrize("seen", ["starting", "draining"])
def test_a_start_and_a_drain_are_not_judged(host, rounds, seen):
    rounds(2)
    host.state = seen
    assert rounds(5) == [True] * 5
    host.state = "ready"
    rounds(2)
    assert host.killed == []


def test_a_switch_is_not_disturbed(host, rounds):
    rounds(2)
    with serving.switching(str):
        rounds(5)
    assert host.killed == []
    rounds(3)
    assert host.killed == ["roundhouse-dev.service"]


def test_an_engine_that_is_asked_to_stop_meanwhile_is_not_killed(host, rounds):
    rounds(2)
    host.pending = True
    rounds(1)
    assert host.killed == []


@pytest.mark.parametrize("seen", ["failed", "stopped"])
def test_the_watchdog_ends_when_the_agent_has_ended(host, rounds, seen):
    host.state = seen
    assert rounds(1) == [False]


def test_each_round_of_a_ready_agent_looks_for_what_a_killed_command_left(host, rounds):
    host.alive = True
    rounds(2)
    assert host.recoveries == ["due", "due"]
    with serving.switching(str):
        rounds(1)
    host.state = "starting"
    rounds(1)
    assert host.recoveries == ["due", "due"]
