"""A host with engines of several versions, and a witness that watches the card and the port during a test."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host
from testinfra.utils.ansible_runner import AnsibleRunner

from roundhouse.paths import CHECKOUT as ROOT

# An empty path would make Ansible use this checkout as an inventory and run every program in it.
INVENTORY = str(Path(os.environ["MOLECULE_INVENTORY_FILE"] or "/unset").resolve(strict=True))
HOSTS = AnsibleRunner(INVENTORY).get_hosts("gpu_hosts")
from by_host import scheduler
from machines import FAULTS, GATE, HELD_RECOVERY, ImagesMachine, Machine

pytest_xdist_make_scheduler = scheduler(HOSTS)

ANSWERS_PATH = "/var/lib/lab-witness.json"  # survives a restart of the machine


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark that names the one host of a test: `folders` or `images`."""
    config.addinivalue_line("markers", "on(name): on the host of that name alone")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every test on every host of the scenario, or only on the host that its mark names."""
    if "host" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("on")
        hosts = [name for name in HOSTS if mark is None or name.endswith(mark.args[0])]
        metafunc.parametrize("host", [f"docker://{name}" for name in hosts], indirect=True, scope="session")


@pytest.fixture(scope="session")
def host(request: pytest.FixtureRequest) -> Host:
    """Return one host of the scenario."""
    return Host.get_host(request.param)


@pytest.fixture(scope="session")
def machine(host: Host) -> Machine:
    """Return the host as the machine under test."""
    plan = json.loads(host.file("/etc/roundhouse/plan.json").content_string)
    return ImagesMachine(host) if plan["runtime"] == ImagesMachine.runtime else Machine(host)


@pytest.fixture
def play(machine: Machine) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs a playbook on this host with some variables changed."""

    def run(playbook: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command(machine, playbook, **variables), **OPTIONS, check=False)

    return run


def command(machine: Machine, playbook: str, **variables: Any) -> list[str]:
    """Return the command that runs a playbook."""
    words = ["ansible-playbook", "-i", INVENTORY, "--limit", machine.name, "--extra-vars", json.dumps(variables)]
    return [*words, f"playbooks/{playbook}.yml"]


OPTIONS: dict[str, Any] = {
    "cwd": ROOT,
    "env": {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
    "stdout": subprocess.PIPE,
    "stderr": subprocess.STDOUT,
    "text": True,
}


def said(result: subprocess.CompletedProcess[str]) -> str:
    """Return a run's output as one line, because Ansible folds long sentences."""
    return " ".join(result.stdout.split())


@pytest.fixture(autouse=True)
def one_engine_at_a_time(machine: Machine, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """Check that a case has at most one engine on the card and ends with an answering port; keep the longest gap.

    If the preview stated the longest time without an answer, the gap must not exceed it: `at_most_seconds`.
    """
    with watched(machine) as seen:
        yield seen
        machine.host.check_output(f"rm -rf {GATE} {FAULTS} {HELD_RECOVERY} /etc/lab-engine/*")
        machine.host.check_output("systemctl daemon-reload && systemctl stop roundhouse-journal.service")
        assert machine.run("resume")["rc"] == 0
    assert seen["engines"] == 1, seen
    assert seen["answers"] > 0
    text = f"{seen['seconds']} s without an answer, one engine on the card"
    if "at_most_seconds" in seen:
        assert seen["seconds"] <= seen["at_most_seconds"], seen
        text += f"; the preview stated at most {seen['at_most_seconds']:.0f} s"
    request.node.user_properties.append(("gap", text))


@contextmanager
def watched(machine: Machine) -> Iterator[dict[str, Any]]:
    """Watch the card and the architect's port; the dict has the observations at the end."""
    machine.host.run("systemctl stop lab-witness")  # from an interrupted run
    machine.host.check_output(f"systemd-run --quiet --collect --unit lab-witness lab-witness 8000 {ANSWERS_PATH}")
    seen: dict[str, Any] = {}
    yield seen
    machine.host.run("systemctl stop lab-witness")  # unless a restart of the machine has stopped it
    seen |= json.loads(machine.host.file(ANSWERS_PATH).content_string)
    machine.host.check_output(f"rm {ANSWERS_PATH}")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print each case's longest time without an answer."""
    terminalreporter.section("the port, case by case")
    for report in terminalreporter.getreports(""):
        if report.when == "teardown":
            for name, text in report.user_properties:
                if name == "gap":
                    terminalreporter.write_line(f"{report.nodeid.rpartition('::')[2]}: {text}")
