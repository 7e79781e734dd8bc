"""What a new engine may do wrong, and a deployment that is killed on its way: the old plan, or the new one, serves."""

import os
import signal
import subprocess
import time

import docker
import pytest
from conftest import FIRST, GATE, NAME, OPTIONS, STAGED, command


@pytest.fixture
def first(machine):
    """Begin with the first engine in place."""
    machine.write(FIRST)
    assert machine.deploy()["rc"] == 0
    return machine


@pytest.mark.parametrize(
    ("faults", "part"),
    [
        ("--crash-after 0", "architect did not start: EngineDeadError: "),
        ("--never-ready", "it was not healthy within its time limit"),
        ("--wrong-name", "serves architect-other, not architect"),
    ],
)
def test_an_engine_of_no_use_is_taken_back(first, faults, part):
    before, plans = first.files(), first.plans()
    first.write(first.engine("0.34.0", faults))
    sentence = first.refused("deploy", STAGED)
    assert part in sentence
    assert sentence.endswith("is in place again. architect serves on port 8000.")
    assert (first.files(), first.plans()) == (before, plans)
    assert first.runs() == (["architect"], FIRST)


def test_both_are_of_no_use_and_the_next_run_needs_no_hand(first):
    first.host.check_output(f"echo --out-of-memory > {FIRST}/faults")
    first.write(first.engine("0.34.0", "--out-of-memory"))
    sentence = first.refused("deploy", STAGED)
    assert "The plan before did not come back either: architect did not start" in sentence
    assert sentence.endswith("No agent serves now.")
    first.host.check_output(f"rm {FIRST}/faults")
    first.write(first.engine("0.33.0"))
    assert first.deploy()["rc"] == 0
    assert first.runs() == (["architect"], "/opt/lab-engines/0.33.0-lab")


def hold(machine, phase):
    """Let a deployment of the plan that is written stay in a phase until the gate is opened."""
    faults = {"start": f"--load-while {GATE}", "canary": f"--answer-while {GATE}", "back": "--out-of-memory"}
    machine.write(machine.engine("0.33.0", faults.get(phase, "")))
    if phase == "back":
        machine.host.check_output(f"echo '--load-while {GATE}' > {FIRST}/faults")
    if phase == "stop":
        machine.host.check_output(f"echo '--answer-while {GATE}' > {FIRST}/faults")
        machine.host.check_output(f"systemctl restart roundhouse-architect && rm {FIRST}/faults && touch {GATE}")
        machine.request()


# Each phase, and each kind of call that may come next.
@pytest.mark.parametrize(
    ("phase", "word"),
    [("stop", "resume"), ("start", "deploy"), ("start", "dev"), ("canary", "resume"), ("back", "deploy")],
)
def test_after_sigkill_the_next_call_completes_or_goes_back(first, phase, word):
    hold(first, phase)
    first.killed(phase, "deploy", STAGED)
    if phase == "back":  # the new engine was no good; it is now
        first.engine("0.33.0")
        first.host.check_output(f"rm {FIRST}/faults")
    assert first.run(*(["deploy", STAGED] if word == "deploy" else [word]))["rc"] == 0
    served = "/opt/lab-engines/0.33.0-lab" if word == "deploy" else FIRST
    assert first.runs() == (["dev" if word == "dev" else "architect"], served)
    assert not first.host.file("/var/lib/roundhouse/plans/deploying.json").exists
    if word == "dev":
        assert first.run("architect")["rc"] == 0


def test_files_that_were_replaced_half_are_put_back(first):
    before = first.files()
    hold(first, "stop")
    first.killed("stop", "deploy", STAGED)
    first.host.check_output(f"cp {STAGED}/agents/architect/etc/systemd/system/* /etc/systemd/system/")
    assert first.files() != before
    assert first.run("resume")["rc"] == 0
    assert first.files() == before
    assert first.runs() == (["architect"], FIRST)


def test_a_machine_that_is_lost_half_way_boots_with_the_plan_that_served(first):
    hold(first, "start")
    first.killed("start", "deploy", STAGED)
    docker.from_env().containers.get(NAME).restart(timeout=20)
    first.host.check_output("timeout 60 sh -c 'until systemctl -q is-active roundhouse-architect; do sleep 0.1; done'")
    assert first.runs() == (["architect"], FIRST)


def test_a_play_that_is_killed_is_run_again(first):
    engine = first.engine("0.33.0", "--load-seconds 4")
    playing = subprocess.Popen(command("agents", engine_path=engine), **OPTIONS, start_new_session=True)
    end = time.monotonic() + 300
    while not first.host.file("/var/lib/roundhouse/plans/deploying.json").exists:
        assert playing.poll() is None, playing.communicate()[0]
        assert time.monotonic() < end
    os.killpg(playing.pid, signal.SIGKILL)
    playing.communicate()
    again = subprocess.run(command("agents", engine_path=engine), **OPTIONS, check=False)
    assert again.returncode == 0, again.stdout
    assert first.runs() == (["architect"], engine)
