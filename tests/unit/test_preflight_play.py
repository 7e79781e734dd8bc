"""The check's play on this machine: all findings in one run, before a change."""

import json
import os
import subprocess

import pytest

from roundhouse.paths import CHECKOUT

VERSION = "580.173.02"


@pytest.fixture
def check(tmp_path, nvml_library):
    """Return a function that runs the check with settings on a machine with a card of that many MiB, None for no card.

    It returns the output without line breaks, and the table as JSON (None if none was written).
    """

    def run(card_mib=None, **settings):
        environment = {**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg")}
        if card_mib is not None:
            version = tmp_path / "sys/module/nvidia/version"
            version.parent.mkdir(parents=True)
            version.write_text(VERSION)
            card = f"gpu 0000:01:00.0 2d04 {card_mib} 0 12.0 off GPU-5f1c A card"
            (tmp_path / "nvml.conf").write_text(f"sys {tmp_path}/sys\ndriver {VERSION}\n{card}\n")
            environment |= {"LAB_NVML": str(tmp_path / "nvml.conf"), "LD_LIBRARY_PATH": str(nvml_library)}
        file = tmp_path / "table.json"
        given = {"ansible_become": False, "preflight_json": str(file), "gpu_memory_gb": 16, **settings}
        command = ["ansible-playbook", "--inventory", "inventory/local", "playbooks/check.yml"]
        command += ["--extra-vars", json.dumps(given)]
        done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
        assert "changed=0" in done.stdout, done.stdout + done.stderr
        assert done.returncode != 0, done.stdout
        return " ".join(done.stdout.split()), json.loads(file.read_text()) if file.exists() else None

    return run


def test_the_refusals_of_the_roles_come_with_all_other_findings(check):
    said, table = check(
        engine_python="no-such-python", container_engine_source="docker", nvidia_container_toolkit_version="1.16.0"
    )
    rows = {row["component"]: row for row in table}
    assert rows["container toolkit"]["action"] == rows["Python"]["action"] == "refuse"
    (refusal,) = rows["container toolkit"]["problems"]
    assert "nvidia_container_toolkit_version is 1.16.0" in refusal
    for problem in (refusal, *rows["Python"]["problems"]):
        assert said.count(problem) >= 1
    assert "component action found system" in said


def test_settings_that_the_roles_do_not_accept_are_one_error(check):
    said, table = check(nvidia_driver_source="nowhere", container_engine_replace="perhaps", nvidia_driver_branch="next")
    assert table is None
    for setting in ("nvidia_driver_source", "container_engine_replace", "nvidia_driver_branch"):
        assert setting in said
    assert said.count("fatal:") == 1


def test_an_impossible_plan_comes_with_the_findings_of_the_host(check):
    said, _ = check(1024, nvidia_container_toolkit_version="1.16.0")
    assert "nvidia_container_toolkit_version is 1.16.0" in said
    assert "architect" in said.partition("msg:")[2].partition("nvidia_container_toolkit_version")[0]
