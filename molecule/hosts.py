"""Fixtures of several scenarios: a host, its command, its plan, and its agents over the OpenAI API.

A scenario's conftest.py names this file as a pytest plugin.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import openai
import pytest
import yaml
from testinfra.host import Host
from testinfra.utils.ansible_runner import AnsibleRunner

from roundhouse.paths import CHECKOUT as ROOT

# An empty path would make Ansible use this checkout as an inventory and run every program in it.
INVENTORY = str(Path(os.environ["MOLECULE_INVENTORY_FILE"] or "/unset").resolve(strict=True))
ANSWER_SECONDS = 60
HOSTS = AnsibleRunner(INVENTORY).get_hosts("gpu_hosts")
from by_host import scheduler

pytest_xdist_make_scheduler = scheduler(HOSTS)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every test on every host of the scenario, over docker exec."""
    if "host" in metafunc.fixturenames:
        hosts = getattr(metafunc.module, "HOSTS", HOSTS)  # a module may name fewer
        metafunc.parametrize("host", [f"docker://{name}" for name in hosts], indirect=True, scope="session")


@pytest.fixture(scope="session")
def host(request: pytest.FixtureRequest) -> Host:
    """Return one host of the scenario."""
    return Host.get_host(request.param)


@pytest.fixture(scope="session")
def name(host: Host) -> str:
    """Return the host's name, which is its container's."""
    return str(host.backend.hostname)


@pytest.fixture(scope="session")
def plan(host: Host) -> dict[str, Any]:
    """Return the deployed plan."""
    return dict(json.loads(host.file("/etc/roundhouse/plan.json").content_string))


@pytest.fixture(scope="session")
def roster(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the lab's roster with the deployed models."""
    agents = yaml.safe_load((ROOT / "inventory/lab/group_vars/all/agents.yml").read_text())["agents"]
    for agent, planned in zip(agents, plan["agents"], strict=True):
        agent["models"] = [{"model": planned["model"]}]
    return list(agents)


@pytest.fixture(scope="session")
def address(name: str) -> str:
    """Return the host's address; the lab forwards its port 1N to port N of its loopback."""
    networks = docker.from_env().containers.get(name).attrs["NetworkSettings"]["Networks"]
    return str(next(iter(networks.values()))["IPAddress"])


@pytest.fixture
def client(address: str) -> Callable[[int], openai.OpenAI]:
    """Return a function that creates OpenAI's client for a port of the gateway, through the lab's forwarding."""
    return lambda port: openai.OpenAI(
        base_url=f"http://{address}:1{port}/v1", api_key="not-needed", max_retries=0, timeout=60
    )


@pytest.fixture(scope="session")
def switch(host: Host) -> Callable[[str], dict[str, Any]]:
    """Return a function that runs the command with --json and returns its object, with the exit status as `rc`."""

    def run(word: str) -> dict[str, Any]:
        result = host.run("roundhouse --json %s", word)
        return {**json.loads(result.stdout), "rc": result.rc}

    return run


@pytest.fixture(scope="session")
def serving(switch: Callable[[str], dict[str, Any]]) -> Callable[[], list[str]]:
    """Return a function that returns the ready agents, as the command and the engines report them.

    On a busy machine an engine may not answer within the deadline of `status`, so it is asked again.
    """

    def names() -> list[str]:
        end = time.monotonic() + ANSWER_SECONDS
        rows = switch("status")["agents"]
        while any(row["problem"] for row in rows):
            assert time.monotonic() < end, rows
            rows = switch("status")["agents"]
        return [row["agent"] for row in rows if row["state"] == "ready"]

    return names


@pytest.fixture
def over(host: Host) -> Iterator[Callable[[str, str], None]]:
    """Return a function that mounts a damaged copy over a model's folder, only on this host; hosts share the models."""
    covered = []

    def cover(folder: str, damage: str) -> None:
        host.check_output(f"rm -rf /tmp/damaged && cp -r {folder} /tmp/damaged && cd /tmp/damaged && {damage}")
        host.check_output(f"mount --bind /tmp/damaged {folder}")
        covered.append(folder)

    yield cover
    for folder in covered:  # the engine of a failed start has ended, so the folder is not in use
        host.check_output(f"umount {folder}")


@pytest.fixture
def play(name: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs a playbook on this host with some variables changed."""

    def run(variables: dict[str, Any], playbook: str = "site.yml", *options: str) -> subprocess.CompletedProcess[str]:
        command = ["ansible-playbook", "--inventory", INVENTORY, "--limit", name, *options]
        command += ["--extra-vars", json.dumps(variables), playbook]
        environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="session")
def eventually() -> Callable[[Callable[[], bool], float], None]:
    """Return a function that waits for a condition, with a limit in seconds."""

    def wait(condition: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"not within {seconds} s"
            time.sleep(0.5)

    return wait


@pytest.fixture
def timed(
    host: Host,
    name: str,
    plan: dict[str, Any],
    serving: Callable[[], list[str]],
    eventually: Callable[[Callable[[], bool], float], None],
    request: pytest.FixtureRequest,
) -> Callable[[str, list[str], float], None]:
    """Return a function that waits until a new engine of dev is ready, and prints the time that it took.

    The limit is the time until the unit starts plus the plan's start timeout.
    """
    (dev,) = [agent for agent in plan["agents"] if agent["name"] == "dev"]

    def wait(what: str, before: list[str], until_begun_seconds: float) -> None:
        begun = time.monotonic()

        def another() -> bool:
            now = host.run("systemctl show --property MainPID,ActiveState --value roundhouse-dev").stdout.split()
            return now != before and "active" in now

        eventually(another, until_begun_seconds + dev["start_timeout_seconds"])
        assert serving() == ["dev"]
        told = f"{name}: dev served again {time.monotonic() - begun:.0f} s after {what}"
        request.node.user_properties.append(("told", told))

    return wait


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the measurements of the tests."""
    ended = [report for report in terminalreporter.getreports("") if report.when == "teardown"]
    told = [text for report in ended for name, text in report.user_properties if name == "told"]
    terminalreporter.section("measured")
    for text in sorted(told):
        terminalreporter.write_line(text)
