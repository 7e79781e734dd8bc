"""The playbook for several hosts, run with Ansible, reports the outcome of every host."""

import json
import os
import shlex
import subprocess

import pytest

from roundhouse.paths import CHECKOUT as ROOT

SERVES = {"schema": 1, "ok": True, "errors": [], "agent": "dev", "changed": True, "stages": {"stop": 1.0, "start": 2.5}}
NOT = {"schema": 1, "ok": False, "errors": [{"code": "start", "message": "dev did not start: no memory."}]}
# Hosts that are this machine or unreachable, with their faults.
GONE = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
NO_ROOT = {"ansible_become": True, "ansible_become_method": "nosuch"}
NO_PYTHON = {"ansible_python_interpreter": "/nowhere/python"}


@pytest.fixture
def play(tmp_path):
    """Return a function that runs it on hosts: (name, (output of `roundhouse`, None if missing, variables))."""

    def run(hosts, *options, **variables):
        told = {
            name: {"ansible_python_interpreter": _python(tmp_path, name, says)} | more for name, (says, more) in hosts
        }
        inventory = tmp_path / "hosts.json"
        common = {"ansible_connection": "local", "ansible_become": False}
        inventory.write_text(json.dumps({"gpu_hosts": {"vars": common, "hosts": told}}))
        variables["__switch_command"] = "roundhouse"  # each host's own, in its PATH
        command = ["ansible-playbook", "--inventory", inventory, "--extra-vars", json.dumps(variables), *options]
        environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
        words = [*command, "playbooks/switch.yml"]
        return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    return run


def _python(folder, name, says):
    """Return a host's interpreter: this machine's, with a `roundhouse` on its PATH that prints a given text."""
    place = folder / name
    place.mkdir()
    if says is not None:
        (place / "roundhouse").write_text(f"#!/bin/sh\nprintf '%s' {shlex.quote(says)}\n")
        (place / "roundhouse").chmod(0o755)
    (place / "python").write_text(f'#!/bin/sh\nPATH={place}:/usr/bin:/bin exec /usr/bin/python3 "$@"\n')
    (place / "python").chmod(0o755)
    return str(place / "python")


def test_every_host_has_a_row_with_its_reason_even_if_it_is_unreachable(play):
    well = json.dumps(SERVES)
    hosts = {
        "well": (well, {}, "switched     dev    3.5"),
        "gone": (well, GONE, "unreachable"),
        "bare": (None, {}, "the roundhouse command is not installed"),
        "nopython": (well, NO_PYTHON, "interpreter '/nowhere/python' was not found"),
        "noroot": (well, NO_ROOT, "Invalid become method"),
        "wrong": (json.dumps(NOT), {}, "dev did not start: no memory."),
        "cut": ("Killed", {}, "Killed (exit status 0)"),
        "strange": ("[1]", {}, "[1] (exit status 0)"),
    }
    done = play([(name, each[:2]) for name, each in hosts.items()], agent="dev", at_a_time=len(hosts))
    assert done.returncode != 0
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.startswith("        ")}
    for name, (_, _, told) in hosts.items():
        assert told in lines[name], done.stdout
    assert "Connection refused" in lines["gone"]
    assert "from_json" not in done.stdout + done.stderr
    assert "dev did not start: no memory." in done.stdout.partition("Stop at the first failure")[2]


@pytest.mark.parametrize("broken", [(json.dumps(SERVES), GONE), (None, {}), (json.dumps(SERVES), NO_ROOT)])
def test_the_first_failed_host_ends_the_play_and_the_table_has_the_others(play, broken):
    well = (json.dumps(SERVES), {})
    done = play([("first", well), ("second", broken), ("third", well)], agent="dev")
    assert done.returncode != 0
    last = done.stdout.rpartition("        host  ")[2].splitlines()
    assert [line.split()[0] for line in last[1:4]] == ["first", "second", "third"]
    assert "switched" in last[1]
    assert "not tried" in last[3]


def test_the_play_succeeds_if_every_host_succeeds(play):
    done = play(
        [("one", (json.dumps(SERVES), {})), ("two", (json.dumps(SERVES | {"changed": False}), {}))], agent="dev"
    )
    assert done.returncode == 0, done.stdout
    assert "two   served already  dev" in done.stdout


def test_a_missing_agent_is_reported(play):
    done = play([("one", (json.dumps(SERVES), {}))])
    assert done.returncode != 0
    assert "agent is not set" in done.stdout
