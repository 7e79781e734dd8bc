"""After a new engine fails or a deployment is killed, either the previous plan or the new one is active."""

import os
import signal
import subprocess
import time

import docker
import pytest
from conftest import OPTIONS, command
from machines import GATE


@pytest.fixture
def first(machine):
    """Begin with the first engine deployed."""
    machine.write(machine.first)
    assert machine.deploy()["rc"] == 0
    return machine


RUBBISH = "architect returned unreadable text, '!!!!!!!!!!!!!!!!'; its weights or kernels are probably corrupt."


# An engine that is never ready has a short limit, on a machine of any speed. The others have a long one.
@pytest.mark.parametrize(
    ("faults", "limit_seconds", "part"),
    [
        ("--crash-after 0", None, "architect did not start: EngineDeadError: "),
        ("--never-ready", 3, "it was not healthy within its time limit"),
        ("--wrong-name", None, "architect-other is active, not architect"),
        ("--rubbish", None, RUBBISH),
    ],
)
def test_a_broken_engine_is_rolled_back_within_the_stated_time(
    first, one_engine_at_a_time, faults, limit_seconds, part
):
    before, plans = first.files(), first.plans()
    first.write(first.engine("0.34.0", faults), limit_seconds)
    one_engine_at_a_time["at_most_seconds"] = first.run("deploy", first.staged, "--dry-run")["at_most_seconds"]
    sentence = first.refused("deploy", first.staged)
    assert part in sentence
    assert "is in place again. architect is active on port 8000." in sentence
    assert (first.files(), first.plans()) == (before, plans)
    assert first.runs() == (["architect"], first.first)


def test_if_both_engines_fail_the_next_run_recovers(first):
    first.fault(first.first, "--out-of-memory")
    first.write(first.engine("0.34.0", "--out-of-memory"))
    sentence = first.refused("deploy", first.staged)
    assert "The rollback to architect failed too for the same reason." in sentence
    assert "No agent is active." in sentence
    first.fault(first.first, "")
    engine = first.engine("0.33.0")
    first.write(engine)
    assert first.deploy()["rc"] == 0
    assert first.runs() == (["architect"], engine)


def hold(machine, phase):
    """Keep the next deployment in a phase until the gate opens; return its engine."""
    faults = {"start": f"--load-while {GATE}", "canary": f"--answer-while {GATE}", "rollback": "--out-of-memory"}
    engine = machine.engine("0.33.0", faults.get(phase, ""))
    machine.write(engine)
    if phase == "rollback":
        machine.fault(machine.first, f"--load-while {GATE}")
    if phase == "stop":
        machine.fault(machine.first, f"--answer-while {GATE}")
        machine.host.check_output("systemctl restart roundhouse-architect")
        machine.fault(machine.first, "")
        machine.host.check_output(f"touch {GATE}")
        machine.request()
    return engine


# Each phase, with each kind of next command.
@pytest.mark.parametrize(
    ("phase", "word"),
    [("stop", "resume"), ("start", "deploy"), ("start", "dev"), ("canary", "resume"), ("rollback", "deploy")],
)
def test_after_sigkill_the_next_command_completes_or_rolls_back(first, phase, word):
    engine = hold(first, phase)
    first.killed(phase, "deploy", first.staged)
    if phase == "rollback":  # the new engine was broken; repair it
        first.fault(engine, "")
        first.fault(first.first, "")
    assert first.run(*(["deploy", first.staged] if word == "deploy" else [word]))["rc"] == 0
    served = engine if word == "deploy" else first.first
    assert first.runs() == (["dev" if word == "dev" else "architect"], served)
    assert not first.host.file("/var/lib/roundhouse/plans/deploying.json").exists
    if word == "dev":
        assert first.run("architect")["rc"] == 0


def test_partly_replaced_files_are_restored(first):
    before = first.files()
    hold(first, "stop")
    first.killed("stop", "deploy", first.staged)
    first.host.check_output(f"cp -r {first.staged}/agents/architect/etc /")
    assert first.files() != before
    assert first.run("resume")["rc"] == 0
    assert first.files() == before
    assert first.runs() == (["architect"], first.first)


def test_a_machine_lost_during_a_deployment_boots_with_the_previous_plan(first):
    hold(first, "start")
    first.killed("start", "deploy", first.staged)
    docker.from_env().containers.get(first.name).restart(timeout=20)
    first.host.check_output("timeout 90 sh -c 'until systemctl -q is-active roundhouse-architect; do sleep 0.1; done'")
    assert first.runs() == (["architect"], first.first)


@pytest.mark.on("folders")  # the playbook does the same for images
def test_a_killed_play_can_be_repeated(first):
    # A version that no earlier run requested, because the digest of an earlier tag is locked.
    engine = first.engine("0.35.0", "--load-seconds 4")
    playing = subprocess.Popen(command(first, "upgrade", **first.asking_for(engine)), **OPTIONS, start_new_session=True)
    end = time.monotonic() + 300
    # The host itself waits for the phase, because polling from here would take a core from the playbook.
    begun = "timeout 2 sh -c 'until test -e /var/lib/roundhouse/plans/deploying.json; do sleep 0.05; done'"
    while first.host.run(begun).rc:
        assert playing.poll() is None, playing.communicate()[0]
        assert time.monotonic() < end
    os.killpg(playing.pid, signal.SIGKILL)
    playing.communicate()
    again = subprocess.run(command(first, "upgrade", **first.asking_for(engine)), **OPTIONS, check=False)
    assert again.returncode == 0, again.stdout
    assert first.runs() == (["architect"], engine)
