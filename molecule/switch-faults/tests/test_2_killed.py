"""A switch that is ended in any phase leaves a host that the next call, and the next boot, understand."""

import signal

import docker
import pytest
from conftest import NAME

PHASES = ("stop", "free", "start", "canary", "back")


def prepare(table, phase):
    """Let a switch to dev stay in the phase for a while."""
    if phase == "stop":
        table.request("architect", 250)
    if phase == "free":
        table.restart("architect", "--hold-memory 2")
    if phase == "start":
        table.fault("dev", "--load-seconds 2")
    if phase == "canary":
        table.fault("dev", "--tokens-per-second 8")
    if phase == "back":
        table.fault("dev", "--out-of-memory --load-seconds 0.1")
        table.fault("architect", "--load-seconds 2")


# Each phase with the word that finishes or undoes it, and with one that asks for something else.
@pytest.mark.parametrize(
    ("phase", "word"),
    [
        *((phase, "resume") for phase in PHASES),
        *zip(PHASES, ("dev", "architect", "po", "architect", "dev"), strict=True),
        *(("start", "dev"), ("canary", "po")),
    ],
)
def test_after_sigkill_the_next_call_finishes_or_restores(table, phase, word):
    prepare(table, phase)
    assert table.killed(phase, signal.SIGKILL, "dev")["rc"] == -signal.SIGKILL
    assert table.journal()

    result = table.run(word)

    failed = phase == "back" and word == "dev"
    assert result["rc"] == (1 if failed else 0), table.said
    finished = phase in ("start", "canary")
    expected = {"resume": "dev" if finished else "architect", "dev": "architect" if failed else "dev"}.get(word, word)
    if (phase, word) == ("start", "resume"):
        # Killed before systemd was asked to start it, it is undone; afterwards it is finished.
        expected = result["serving"][0]
        assert expected in ("dev", "architect")
    assert table.serving() == [expected]
    assert not table.journal()
    outcomes = [each["outcome"] for each in table.ask("history")["switches"][-2:]]
    assert "killed" in outcomes or outcomes[-1] == "done"


@pytest.mark.parametrize("phase", PHASES[:4])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_switch_goes_back_itself(table, phase, number):
    prepare(table, phase)
    result = table.killed(phase, number, "dev")
    table.said = result["stderr"].splitlines()[-1]
    assert result["rc"] == 130
    assert "interrupted. architect serves on port 8000." in result["stdout"]
    assert table.serving() == ["architect"]


def test_a_second_switch_is_told_how_far_the_first_is(table):
    table.fault("dev", "--load-seconds 5")
    table.host.check_output("systemd-run --quiet --collect --unit lab-client roundhouse dev")
    table.until("grep -sq phase.:..start /var/lib/roundhouse/state/switch.json")
    table.host.check_output("sleep 0.5")
    sentence = table.refused("po")
    assert "another switch is running (to dev, pid " in sentence
    assert "now start: loading weights" in sentence
    table.until("! systemctl -q is-active lab-client")
    assert table.serving() == ["dev"]


def test_a_second_switch_that_waits_comes_after_the_first(table):
    table.fault("dev", "--load-seconds 1")
    table.host.check_output("systemd-run --quiet --collect --unit lab-client roundhouse dev")
    table.until("grep -sq to.:..dev /var/lib/roundhouse/state/switch.json")
    assert table.run("po", "--wait")["rc"] == 0
    assert table.serving() == ["po"]
    assert [each["to"] for each in table.ask("history")["switches"][-2:]] == ["dev", "po"]


@pytest.mark.parametrize("phase", ["start", "canary"])
def test_after_a_restart_of_the_machine_the_last_committed_agent_serves(table, phase):
    prepare(table, phase)
    table.killed(phase, signal.SIGKILL, "dev")
    docker.from_env().containers.get(NAME).restart(timeout=20)
    table.until("systemctl -q is-active roundhouse-architect")
    assert table.serving() == ["architect"]
    assert not table.journal()
    assert table.history()["outcome"] == "killed"
