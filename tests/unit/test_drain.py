"""The stop of an agent: requests may finish, unfinished ones are cut and counted, and a hanging engine is killed."""

import pytest

from roundhouse.agents import drain
from roundhouse.host import systemd
from roundhouse.vllm.client import Load


class Leaving:
    """An agent whose requests finish one per check, and whose unit stops without requests or when killed."""

    def __init__(self, requests, *, ignores_stop=False, hangs=False, aborts=False):
        self.requests, self.ignores_stop, self.state = requests, ignores_stop, "ready"
        self.hangs, self.aborts = hangs, aborts
        self.happened, self.asked_after = [], None

    def listens(self):
        return self.state != "stopped"

    def load(self, timeout_seconds):
        if self.state == "draining" and self.hangs:
            return None
        if self.state == "draining" and not self.ignores_stop and self.requests:
            self.requests -= 1
        if self.state == "draining" and not self.ignores_stop and not self.requests:
            self.state = "stopped"
        return None if self.state == "stopped" else Load(self.requests, 0, 0.0)


@pytest.fixture
def go(monkeypatch, clock):
    """Return a function that stops an agent and returns (cut requests, events, messages)."""

    def run(agent, drain_seconds, **plan):
        def stop(name, wait):
            agent.happened.append("stop")
            agent.asked_after = now.monotonic() - begun
            # An engine that cuts all requests: vLLM without a shutdown-timeout.
            agent.state = "stopped" if agent.aborts else "draining"

        def kill(name):
            agent.happened.append("kill")
            agent.state = "failed"

        now = clock(drain)
        begun = now.monotonic()
        monkeypatch.setattr(drain, "Engine", lambda host, port: agent)
        monkeypatch.setattr(systemd, "state", lambda name: agent.state)
        monkeypatch.setattr(systemd, "stop", stop)
        monkeypatch.setattr(systemd, "kill", kill)
        monkeypatch.setattr(systemd, "reset_failed", lambda name: agent.happened.append("reset_failed"))
        said = []
        entry = {"name": "dev", "unit": "u", "host": "h", "engine_port": 1, "stop_grace_seconds": 15}
        entry |= {"config": {"shutdown-timeout": 30}, **plan}
        return drain.drain([entry], drain_seconds, said.append, str), agent.happened, said

    return run


def test_requests_that_end_within_the_drain_are_not_cut(go):
    cut, happened, said = go(Leaving(3), 30)
    assert (cut, happened) == (0, ["stop"])
    assert said == ["stopping dev (3 running requests, cut after 30 s)"]


def test_unfinished_requests_are_cut_and_counted(go):
    cut, happened, said = go(Leaving(2, ignores_stop=True), 30)
    assert (cut, happened) == (2, ["stop", "kill", "reset_failed"])
    assert said[1] == "dev did not stop in 30 s: killing it, 2 requests are cut"


def test_an_idle_engine_that_ignores_the_stop_signal_is_killed(go):
    cut, happened, said = go(Leaving(0, ignores_stop=True), 0)
    assert (cut, happened) == (0, ["stop", "kill", "reset_failed"])
    assert said[1] == "dev did not stop in 15 s: killing it, 0 requests are cut"


def test_a_drain_longer_than_the_engines_own_waits_before_it_asks(go):
    agent = Leaving(1, ignores_stop=True)
    cut, happened, _ = go(agent, 90, config={"shutdown-timeout": 30})
    assert (cut, happened) == (1, ["stop", "kill", "reset_failed"])
    assert agent.asked_after == pytest.approx(60, abs=drain.POLL_SECONDS)


def test_a_stopped_engine_is_not_asked(go):
    agent = Leaving(0)
    agent.state = "stopped"
    assert go(agent, 30)[:2] == (0, [])


def test_requests_that_the_engine_aborts_are_counted(go):
    cut, happened, said = go(Leaving(2, aborts=True), 30, config={})
    assert (cut, happened) == (2, ["stop"])
    assert said[-1] == "dev ended and cut 2 requests"


def test_a_hanging_engine_is_killed_after_the_drain_and_its_requests_are_counted(go):
    assert go(Leaving(2, hangs=True), 30)[:2] == (2, ["stop", "kill", "reset_failed"])


def test_an_engine_without_request_counts_is_reported(go):
    agent = Leaving(0, hangs=True)
    agent.state = "draining"
    cut, _, said = go(agent, 0)
    assert (cut, said[0]) == (0, "stopping dev (the number of its requests is unknown)")


@pytest.mark.parametrize(("drain_seconds", "told_after"), [(30, 29), (0, 0)])
def test_streams_get_the_reason_a_second_before_the_kill_and_are_counted(go, monkeypatch, drain_seconds, told_after):
    agent, said_to_gateway = Leaving(3, ignores_stop=True), []

    def cut_streams(name, cause):
        said_to_gateway.append((name, cause))
        agent.happened.append("tell")
        agent.requests -= 2  # the third is not a stream
        return True

    monkeypatch.setattr(drain.haproxy, "cut_streams", cut_streams)
    monkeypatch.setattr(drain.haproxy, "ended_streams", lambda name: 2)
    cut, happened, said = go(agent, drain_seconds)
    assert said_to_gateway == [("dev", "a rollback")]
    assert (cut, happened) == (3, ["stop", "tell", "kill", "reset_failed"])
    assert said[1] == f"dev did not stop in {told_after + 1} s: killing it, 1 requests are cut"
