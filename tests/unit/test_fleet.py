"""The playbooks on many hosts: batches, a failure that stops the run, connections that survive a silent task."""

import configparser
import json
import os
import re
import subprocess

import pytest
import yaml

from roundhouse.paths import CHECKOUT as ROOT

PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
# The plays that stop, restart or reboot something that serves.
DISRUPTIVE = ("host.yml", "agents.yml", "gateway.yml")
HOSTS = [f"gpu-{number}" for number in range(10)]


def plays(path):
    """Return the plays of a playbook, without those that it imports."""
    return [play for play in yaml.safe_load(path.read_text()) if "hosts" in play]


def tasks(part):
    """Yield the tasks of a play or of a tasks file, also those in blocks."""
    for task in part:
        yield task
        for name in ("block", "rescue", "always"):
            yield from tasks(task.get(name, []))


def run_like(name, tmp_path, *options):
    """Run ten hosts through a play with the keywords of a playbook's play, where gpu-1 fails; return those that ran."""
    (play,) = plays(ROOT / "playbooks" / name)
    kept = {key: play[key] for key in ("serial", "max_fail_percentage") if key in play}
    content = {"hosts": "all", "gather_facts": False, "connection": "local", **kept}
    content["tasks"] = [
        {"name": "Begin", "ansible.builtin.raw": f"touch {tmp_path}/{{{{ inventory_hostname }}}}"},
        {"name": "Fail", "ansible.builtin.fail": {}, "when": "inventory_hostname == 'gpu-1'"},
        {"name": "Go on", "ansible.builtin.raw": f"touch {tmp_path}/after-{{{{ inventory_hostname }}}}"},
    ]
    (tmp_path / "play.yml").write_text(json.dumps([content]))
    command = ["ansible-playbook", "--inventory", ",".join(HOSTS), str(tmp_path / "play.yml"), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0, done.stdout
    return sorted(path.name for path in tmp_path.iterdir() if path.name != "play.yml")


def test_a_failed_host_stops_the_run_after_its_batch_of_a_fifth(tmp_path):
    assert run_like("host.yml", tmp_path) == ["gpu-0", "gpu-1"]
    keywords = [
        (play["serial"], play["max_fail_percentage"])
        for name in DISRUPTIVE
        for play in plays(ROOT / "playbooks" / name)
    ]
    assert len(keywords) == 3
    assert len(set(keywords)) == 1


def test_the_batch_and_the_permitted_failures_are_settings(tmp_path):
    ran = run_like("host.yml", tmp_path, "--extra-vars", "at_a_time=5 max_fail_percentage=30")
    assert ran == sorted([*HOSTS, *(f"after-{name}" for name in HOSTS if name != "gpu-1")])


def test_all_hosts_are_checked_before_any_host_is_changed():
    first = yaml.safe_load((ROOT / "playbooks/host.yml").read_text())[0]
    assert first["import_playbook"] == "check.yml"
    assert yaml.safe_load((ROOT / "playbooks/upgrade.yml").read_text())[0]["import_playbook"] == "check.yml"
    (check,) = plays(ROOT / "playbooks/check.yml")
    assert "serial" not in check


def test_a_refused_host_stops_the_run_after_all_hosts_were_checked(tmp_path):
    assert run_like("check.yml", tmp_path) == sorted(HOSTS)


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.name)
def test_no_play_gathers_all_facts(path):
    assert all(play.get("gather_facts") is False for play in plays(path))


def test_a_play_does_not_search_sudos_path_for_the_command():
    found = []
    for path in PLAYBOOKS:
        for play in plays(path):
            given = [task.get("ansible.builtin.command") for task in tasks(play.get("tasks", []))] + [play.get("vars")]
            found += re.findall(r"[\w/]*\broundhouse(?=['\"])", json.dumps([each for each in given if each]))
    assert set(found) == {"/usr/local/bin/roundhouse"}


def test_a_silent_task_keeps_its_ssh_connection():
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "ansible.cfg")
    words = config["ssh_connection"]["ssh_args"].split()
    assert {"ServerAliveInterval=30", "ControlMaster=auto", "ControlPersist=60s"} <= set(words)
    assert int(config["defaults"]["forks"]) == 25


def test_apt_waits_for_its_lock_in_every_role():
    found = []
    for path in sorted((ROOT / "roles").glob("*/tasks/*.yml")):
        for task in tasks(yaml.safe_load(path.read_text())):
            if isinstance(given := task.get("ansible.builtin.apt"), dict):
                found.append((path.parents[1].name, given.get("lock_timeout")))
    assert {role for role, _ in found} >= {"engine", "gateway"}
    assert [role for role, seconds in found if seconds != 600] == []


@pytest.mark.parametrize("present", [False, True], ids=["by setup", "by somebody"])
def test_setup_disables_only_a_haproxy_that_it_installed(present, tmp_path):
    log = tmp_path / "log"
    programs = {"apt-get": "", "systemctl": "", "id": "echo 0"} | ({"haproxy": ""} if present else {})
    for name, body in programs.items():
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{name} $*" >>{log}\n{body}\n')
        (tmp_path / name).chmod(0o755)
    environment = os.environ | {"PATH": str(tmp_path), "ROUNDHOUSE_SYSTEMD": str(tmp_path)}
    subprocess.run(["/bin/sh", ROOT / "lab/programs.sh"], env=environment, check=True, capture_output=True)
    lines = log.read_text().splitlines()
    assert any(line.startswith("apt-get install") and "haproxy" in line for line in lines)
    assert ("systemctl disable --quiet --now haproxy.service" in lines) is not present


def test_make_setup_runs_that_script():
    assert "lab/programs.sh" in (ROOT / "lab/tools.sh").read_text()
