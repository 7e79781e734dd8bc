"""Fixtures for tests of a machine with a card: its driver's state, its container engine, a run of one role."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host
from testinfra.utils.ansible_runner import AnsibleRunner

from roundhouse.paths import CHECKOUT as ROOT

INVENTORY = os.environ["MOLECULE_INVENTORY_FILE"]
# An empty path would make Ansible use the current folder as an inventory and run every program in it.
assert Path(INVENTORY).is_file(), "run these tests through molecule verify"
HOSTS = AnsibleRunner(INVENTORY).get_hosts("gpu_hosts")
from by_host import scheduler

from roundhouse.provision import bundle

FRESH = "/tmp/roundhouse"
pytest_xdist_make_scheduler = scheduler(HOSTS)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every test on each release; long tests and tests that change the host run on the host that ONLY names."""
    if "host" in metafunc.fixturenames:
        hosts = [name for name in HOSTS if name.endswith(getattr(metafunc.module, "ONLY", ""))]
        metafunc.parametrize("host", [f"docker://{name}" for name in hosts], indirect=True, scope="session")


@pytest.fixture(scope="session")
def host(request: pytest.FixtureRequest) -> Host:
    """Return one host, with the command unpacked on it as the role agents does."""
    made = Host.get_host(request.param)
    name = made.backend.hostname
    made.check_output(f"rm -rf {FRESH} && mkdir {FRESH}")
    # Not `docker cp`, which mounts the container's file system again and fails if the container has mounts.
    unpack = ["docker", "exec", "--interactive", name, "tar", "-C", FRESH, "--strip-components=1", "-xf", "-"]
    subprocess.run(unpack, input=Path(bundle.make()["path"]).read_bytes(), check=True)
    return made


@pytest.fixture
def doctor(host: Host) -> Callable[[], dict[str, Any]]:
    """Return a function that runs doctor and returns the driver's state, text and remedy, and the status as `rc`."""

    def ask() -> dict[str, Any]:
        result = host.run(f"python3 {FRESH}/switch.py doctor --json")
        answer = json.loads(result.stdout)
        assert answer["ok"] == (result.rc == 0)
        return {**answer["checks"][0], "rc": result.rc}

    return ask


@pytest.fixture
def machine(host: Host) -> Iterator[Callable[..., None]]:
    """Return a function that boots the machine with another description; boot it as before after the test."""

    def boot(**description: Any) -> None:
        host.check_output("echo %s > /etc/lab-gpu.json && lab-kernel boot", json.dumps(description))

    yield boot
    host.check_output("rm -f /etc/lab-gpu.json && lab-kernel boot")


@pytest.fixture
def play(host: Host) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs a playbook of this scenario on this host with some variables changed."""

    def run(playbook: str, *options: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        command = ["ansible-playbook", "--inventory", INVENTORY, "--limit", host.backend.hostname, *options]
        command += ["--extra-vars", json.dumps(variables), str(ROOT / "molecule/bare-host" / playbook)]
        # molecule asks for colors, whose codes would break a folded sentence.
        environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def said() -> Callable[[subprocess.CompletedProcess[str]], str]:
    """Return a function that joins a run's output into one line, because Ansible folds long sentences."""
    return lambda result: " ".join(result.stdout.split())
