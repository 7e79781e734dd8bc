"""What the tests ask of a machine with a card: its driver's state, its engine, a run of one role."""

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
# An empty name would be the current folder, whose every executable Ansible would run as an inventory.
assert Path(INVENTORY).is_file(), "run these tests through molecule verify"
HOSTS = AnsibleRunner(INVENTORY).get_hosts("gpu_hosts")
from by_host import scheduler

from roundhouse.provision import bundle

FRESH = "/tmp/roundhouse"
pytest_xdist_make_scheduler = scheduler(HOSTS)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every test on each release; what is long or upsets the host on one host, which its file names in ONLY."""
    if "host" in metafunc.fixturenames:
        hosts = [name for name in HOSTS if name.endswith(getattr(metafunc.module, "ONLY", ""))]
        metafunc.parametrize("host", [f"docker://{name}" for name in hosts], indirect=True, scope="session")


@pytest.fixture(scope="session")
def host(request: pytest.FixtureRequest) -> Host:
    """Return one host, with the command unpacked on it as the role agents will."""
    made = Host.get_host(request.param)
    name = made.backend.hostname
    made.check_output(f"rm -rf {FRESH} && mkdir {FRESH}")
    # Not `docker cp`, which mounts the container's filesystem once more and fails beside mounts of its own.
    unpack = ["docker", "exec", "--interactive", name, "tar", "-C", FRESH, "--strip-components=1", "-xf", "-"]
    subprocess.run(unpack, input=Path(bundle.make()["path"]).read_bytes(), check=True)
    return made


@pytest.fixture
def doctor(host: Host) -> Callable[[], dict[str, Any]]:
    """Return the command's own word about the driver: state, text, remedy, with the exit status as `rc`."""

    def ask() -> dict[str, Any]:
        result = host.run(f"python3 {FRESH}/switch.py doctor --json")
        answer = json.loads(result.stdout)
        assert answer["ok"] == (result.rc == 0)
        return {**answer["checks"][0], "rc": result.rc}

    return ask


@pytest.fixture
def machine(host: Host) -> Iterator[Callable[..., None]]:
    """Boot the machine with another description, and as it was after the test."""

    def boot(**description: Any) -> None:
        host.check_output("echo %s > /etc/lab-gpu.json && lab-kernel boot", json.dumps(description))

    yield boot
    host.check_output("rm -f /etc/lab-gpu.json && lab-kernel boot")


@pytest.fixture
def play(host: Host) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a playbook of this scenario on this host with some variables changed."""

    def run(playbook: str, *options: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        command = ["ansible-playbook", "--inventory", INVENTORY, "--limit", host.backend.hostname, *options]
        command += ["--extra-vars", json.dumps(variables), str(ROOT / "molecule/bare-host" / playbook)]
        environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def said() -> Callable[[subprocess.CompletedProcess[str]], str]:
    """Return what a run printed, as one line: Ansible folds its sentences."""
    return lambda result: " ".join(result.stdout.split())
