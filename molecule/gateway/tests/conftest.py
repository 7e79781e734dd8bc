"""A host whose gateway listens to others: its address, its key, its certificate; its command."""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from testinfra.host import Host
from testinfra.utils.ansible_runner import AnsibleRunner

INVENTORY = os.environ.get("MOLECULE_INVENTORY_FILE", "")
# An empty name would be the current folder, whose every executable Ansible would run as an inventory.
assert Path(INVENTORY).is_file(), "run these tests through molecule verify"
HOSTS = AnsibleRunner(INVENTORY).get_hosts("gpu_hosts")
from by_host import scheduler

pytest_xdist_make_scheduler = scheduler(HOSTS)
FOLDER = "/etc/roundhouse/gateway"
GATE, LOAD = "/run/lab-gate", "/run/lab-load"
# ANY is the port of all agents.
ANY, PORTS = 8080, {"architect": 8000, "dev": 8001, "po": 8002}


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark of tests that do not depend on HAProxy's version."""
    config.addinivalue_line("markers", "one_host(suite): run on the host of that suite alone")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test on every host of the scenario, or on the one that its mark names."""
    if "gate" not in metafunc.fixturenames:
        return
    mark = metafunc.definition.get_closest_marker("one_host")
    names = [name for name in HOSTS if not mark or name.endswith(mark.args[0])]
    metafunc.parametrize("gate", names, ids=[f"docker://{name}" for name in names], indirect=True, scope="session")


class Gate:
    """One host, seen from outside."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.host = Host.get_host(f"docker://{name}")
        networks = docker.from_env().containers.get(name).attrs["NetworkSettings"]["Networks"]
        self.address = next(iter(networks.values()))["IPAddress"]
        self.key = self.host.check_output("roundhouse keys show default")
        self.tls = ssl.create_default_context(cadata=self.host.file(f"{FOLDER}/tls.pem").content_string)

    def run(self, *words: str) -> dict[str, Any]:
        """Run the command with --json and return its object, with the exit status as `rc`."""
        result = self.host.run("roundhouse --json " + " ".join(words))
        return {**json.loads(result.stdout), "rc": result.rc}

    def hold(self, closed: bool) -> None:
        """Hold the answers of engines that were started with a GATE file, or release them."""
        self.host.check_output(f"touch {GATE}" if closed else f"rm -f {GATE}")

    def load(self, allowed: bool) -> None:
        """Let engines load that were started with a LOAD file, or stop their loads."""
        self.host.check_output(f"rm -f {LOAD}" if allowed else f"touch {LOAD}")

    def holds(self) -> bool:
        """Return whether the gateway holds a request."""
        line = http.client.HTTPSConnection(self.address, ANY + 100, timeout=60, context=self.tls)
        line.request("GET", "/metrics/roundhouse", headers={"Authorization": f"Bearer {self.key}"})
        text = line.getresponse().read().decode()
        line.close()
        return any(float(each) for each in re.findall(r"^roundhouse_gateway_waiting\{.*\} (\S+)$", text, re.MULTILINE))

    def wait_for(self, condition: str) -> None:
        """Wait for a condition of the host's shell, with a limit."""
        self.host.check_output("timeout 90 sh -c %s", f"until {condition}; do sleep 0.1; done")

    def until(self, agent: str | None) -> None:
        """Wait until that agent alone is ready, or none is."""
        end = time.monotonic() + 120
        while (ready := [each["agent"] for each in self.run("status")["agents"] if each["state"] == "ready"]) != (
            [agent] if agent else []
        ):
            assert time.monotonic() < end, ready
            time.sleep(0.3)


@pytest.fixture(scope="session")
def gate(request: pytest.FixtureRequest) -> Gate:
    """Return one host of the scenario, with the architect active."""
    made = Gate(request.param)
    assert made.run("architect")["rc"] == 0
    return made


@pytest.fixture
def fault(gate: Gate) -> Iterator[Callable[[str, str], None]]:
    """Give an agent's next engines a fault; the end of the test removes it."""

    def write(agent: str, options: str) -> None:
        gate.host.check_output("echo %s > /etc/lab-engine/" + agent, options)

    yield write
    gate.host.check_output(f"rm -f /etc/lab-engine/* {GATE} {LOAD}")


@pytest.fixture
def keys(gate: Gate) -> Iterator[Callable[[int], list[str]]]:
    """Return a function that makes keys: the clients together exceed the limit of one key."""
    made: list[str] = []

    def make(count: int) -> list[str]:
        names = [f"client-{time.monotonic_ns()}-{number}"[-32:] for number in range(count)]
        made.extend(names)
        return [gate.host.check_output(f"roundhouse keys add {name}").split()[-1] for name in names]

    yield make
    for name in made:
        gate.host.check_output(f"roundhouse keys revoke {name}")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the recorded outcomes of the passed tests."""
    for report in terminalreporter.getreports("passed"):
        for name, text in report.user_properties if report.when == "call" else []:
            if name == "outcome":
                terminalreporter.write_line(f"{report.nodeid.rpartition('::')[2]}: {text}")
