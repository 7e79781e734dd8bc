"""A host with an engine of a version and engines of others beside it; what watches the card and the port meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

ROOT = Path(__file__).resolve().parents[3]
# An empty path would make Ansible take this checkout for an inventory, and run every program in it.
INVENTORY = str(Path(os.environ["MOLECULE_INVENTORY_FILE"] or "/unset").resolve(strict=True))
NAME = "roundhouse-upgrade"
STAGED = "/var/lib/roundhouse/staged/native"
FIRST = "/opt/lab-engine"
GATE = "/run/lab-gate.upgrade"  # see lab/fake/kill_at.py


class Machine:
    """The host under test."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def run(self, *words: str) -> dict[str, Any]:
        """Run the command with --json and return its object, with the exit status as `rc`."""
        result = self.host.run("roundhouse --json " + " ".join(words))
        return {**json.loads(result.stdout), "rc": result.rc}

    def deploy(self) -> dict[str, Any]:
        """Do what the play ends with."""
        return self.run("deploy", STAGED)

    def refused(self, *words: str) -> str:
        """Run what must fail, and return its sentence."""
        answer = self.run(*words)
        assert answer["rc"] != 0, answer
        return str(answer["errors"][0]["message"])

    def killed(self, phase: str, *words: str) -> None:
        """Run the command and end it with SIGKILL in a phase, which the gate holds."""
        self.host.check_output(f"touch {GATE}")
        told = json.loads(self.host.check_output(f"lab-kill {phase} {signal.SIGKILL:d} {' '.join(words)}"))
        assert told["rc"] == -signal.SIGKILL
        self.host.check_output(f"rm {GATE}")

    def request(self) -> None:
        """Leave a request with the architect."""
        body = json.dumps({"model": "architect", "prompt": "go on", "max_tokens": 4})
        code = f"import urllib.request as u; u.urlopen('http://127.0.0.1:8000/v1/completions', {body.encode()!r})"
        self.host.check_output("systemd-run --quiet --collect --unit lab-client python3 -c %s", code)
        running = "until roundhouse --json status | grep -q 'running.: 1'; do sleep 0.05; done"
        self.host.check_output("timeout 20 sh -c %s", running)

    def engine(self, version: str, faults: str = "") -> str:
        """Put an engine of that version beside the first one, with its faults, and return its folder."""
        folder = f"/opt/lab-engines/{version}-lab"
        self.host.check_output(f"mkdir -p /opt/lab-engines && rm -rf {folder} && cp -a {FIRST} {folder}")
        self.host.check_output(f"ln -sf /usr/bin/python3 {folder}/bin/python")  # what the role engine looks for
        self.host.check_output("echo %s > %s/faults", faults, folder)
        return folder

    def write(self, engine: str) -> None:
        """Write the plan that is in place for another engine, as the role would, where the role does."""
        self.host.check_output(
            f"cd {STAGED} && cp /etc/roundhouse/plan.json . && was=$({self._asked('engine_path')}) && for name in"
            f" architect dev po; do cp /etc/systemd/system/roundhouse-$name.service agents/$name/etc/systemd/system/;"
            f" done && sed -i s#$was#{engine}#g plan.json agents/*/etc/systemd/system/*.service"
        )

    def runs(self) -> tuple[list[str], str]:
        """Return who is ready, and the engine that the plan in place names."""
        rows = self.run("status")["agents"]
        assert all(row["drift"] == [] for row in rows), rows
        return [row["agent"] for row in rows if row["state"] == "ready"], self.host.check_output(
            self._asked("engine_path")
        )

    def plans(self) -> list[str]:
        """Return the engines of the plans that are kept, the one in place last."""
        return [row["engine"] for row in self.run("plans")["plans"]]

    def files(self) -> str:
        """Return a hash of each file that a deployment may replace."""
        return self.host.check_output("sha256sum /etc/roundhouse/plan.json /etc/roundhouse/agents/* "
                                      "/etc/systemd/system/roundhouse-*.service")  # fmt: skip

    @staticmethod
    def _asked(key: str) -> str:
        return f'python3 -c \'import json; print(json.load(open("/etc/roundhouse/plan.json"))["{key}"])\''


@pytest.fixture(scope="session")
def machine() -> Machine:
    """Return the host."""
    return Machine(Host.get_host(f"docker://{NAME}"))


@pytest.fixture
def play() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a playbook with some variables changed."""

    def run(playbook: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command(playbook, **variables), **OPTIONS, check=False)

    return run


def command(playbook: str, **variables: Any) -> list[str]:
    """Return the command that runs a playbook."""
    return ["ansible-playbook", "-i", INVENTORY, "--extra-vars", json.dumps(variables), f"playbooks/{playbook}.yml"]


WITNESSED = "/var/lib/lab-witness.json"  # outlives a restart of the machine
OPTIONS: dict[str, Any] = {
    "cwd": ROOT,
    "env": {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
    "stdout": subprocess.PIPE,
    "stderr": subprocess.STDOUT,
    "text": True,
}


def said(result: subprocess.CompletedProcess[str]) -> str:
    """Return what a run printed, as one line: Ansible folds its sentences."""
    return " ".join(result.stdout.split())


@pytest.fixture(autouse=True)
def one_engine_at_a_time(machine: Machine, request: pytest.FixtureRequest) -> Iterator[None]:
    """Hold every case to one engine on the card, and to a port that is answered when it ends; keep the longest gap."""
    with watched(machine) as seen:
        yield
        machine.host.check_output(f"rm -f {GATE} {FIRST}/faults /etc/lab-engine/*")
        assert machine.run("resume")["rc"] == 0
    assert seen["engines"] == 1, seen
    assert seen["answers"] > 0
    request.node.user_properties.append(("gap", f"{seen['seconds']} s without an answer, one engine on the card"))


@contextmanager
def watched(machine: Machine) -> Iterator[dict[str, Any]]:
    """Watch the card and the architect's port; what was seen is in the dict at the end."""
    machine.host.run("systemctl stop lab-witness")  # of a run that was ended
    machine.host.check_output(f"systemd-run --quiet --collect --unit lab-witness lab-witness 8000 {WITNESSED}")
    seen: dict[str, Any] = {}
    yield seen
    machine.host.run("systemctl stop lab-witness")  # which a restart of the machine has done
    seen |= json.loads(machine.host.file(WITNESSED).content_string)
    machine.host.check_output(f"rm {WITNESSED}")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print each case's longest time without an answer."""
    terminalreporter.section("the port, case by case")
    for report in terminalreporter.getreports(""):
        if report.when == "teardown":
            for name, text in report.user_properties:
                if name == "gap":
                    terminalreporter.write_line(f"{report.nodeid.rpartition('::')[2]}: {text}")
