"""Fixtures for kernel updates: the driver's state, a reboot, and a run of a playbook. The scenario rhel links this."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host
from testinfra.utils.ansible_runner import AnsibleRunner

from roundhouse.paths import CHECKOUT as ROOT
from roundhouse.provision import bundle

# An empty path would make Ansible use the current folder as an inventory and run every program in it.
INVENTORY = str(Path(os.environ["MOLECULE_INVENTORY_FILE"] or "/unset").resolve(strict=True))
HOSTS = AnsibleRunner(INVENTORY).get_hosts("gpu_hosts")
from by_host import scheduler

FRESH = "/var/tmp/roundhouse"
BOOT_SECONDS = 300  # a bound, for a machine of any speed
pytest_xdist_make_scheduler = scheduler(HOSTS)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of a module on the host that ONLY names."""
    if "host" in metafunc.fixturenames:
        hosts = [f"docker://{name}" for name in HOSTS if name.endswith(metafunc.module.ONLY)]
        metafunc.parametrize("host", hosts, indirect=True, scope="session")


@pytest.fixture(scope="session")
def host(request: pytest.FixtureRequest) -> Host:
    """Return one host, with the command unpacked on it as the role agents does."""
    made = Host.get_host(request.param)
    made.check_output(f"rm -rf {FRESH} && mkdir {FRESH}")
    # Not `docker cp`, which mounts the container's file system again and fails if the container has mounts.
    unpack = ["tar", "-C", FRESH, "--strip-components=1", "-xf", "-"]
    command = ["docker", "exec", "--interactive", made.backend.hostname, *unpack]
    subprocess.run(command, input=Path(bundle.make()["path"]).read_bytes(), check=True)
    return made


@pytest.fixture
def doctor(host: Host) -> Callable[[], tuple[str, str]]:
    """Return a function that returns the driver's state and text."""

    def ask() -> tuple[str, str]:
        row = json.loads(host.run(f"python3 {FRESH}/switch.py doctor --json").stdout)["checks"][0]
        return row["state"], row["text"]

    return ask


@pytest.fixture
def reboot(host: Host) -> Callable[[], str]:
    """Return a function that reboots the host and returns the kernel that runs after it."""

    def again() -> str:
        before = host.check_output("cat /proc/sys/kernel/random/boot_id")
        host.run("systemctl reboot")
        end = time.monotonic() + BOOT_SECONDS
        while (now := host.run("cat /proc/sys/kernel/random/boot_id")).rc != 0 or now.stdout.strip() == before:
            assert time.monotonic() < end, "the host did not boot"
            time.sleep(0.5)
        while host.run("systemctl is-system-running").stdout.strip() not in ("running", "degraded"):
            assert time.monotonic() < end, "the host's boot did not end"
            time.sleep(0.5)
        return host.check_output("cat /proc/sys/kernel/osrelease")

    return again


@pytest.fixture
def play(host: Host) -> Callable[..., str]:
    """Return a function that runs a playbook, host.yml by default, and returns the host's line of the recap."""

    def run(playbook: str = "host.yml", **variables: Any) -> str:
        command = ["ansible-playbook", "--inventory", INVENTORY, "--limit", host.backend.hostname]
        command += ["--extra-vars", json.dumps(variables), str(ROOT / "playbooks" / playbook)]
        # molecule asks for colors, which the recap's lines would begin with.
        environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
        return next(line for line in done.stdout.splitlines() if line.startswith(host.backend.hostname))

    return run
