"""A run waits while the host's first boot locks apt, and shows which process it waits for."""

import json
import os
import subprocess

import pytest
from conftest import INVENTORY, ROOT

ONLY = "bookworm"
HOLD = (
    "import fcntl, time; file = open('{path}', 'w'); fcntl.lockf(file, fcntl.LOCK_EX); open('/run/lab-held', 'w'); "
    "time.sleep(3600)"
)


@pytest.mark.parametrize("path", ["/var/lib/apt/lists/lock", "/var/lib/dpkg/lock-frontend"])
def test_a_locked_apt_is_waited_for(host, path):
    host.check_output("systemd-run --unit lab-hold --collect python3 -c %s", HOLD.format(path=path))
    host.check_output("timeout 60 sh -c 'until test -e /run/lab-held; do sleep 0.1; done'; rm /run/lab-held")
    command = ["ansible", "--inventory", INVENTORY, host.backend.hostname, "--module-name", "roundhouse_host_files"]
    command += ["--args", json.dumps({"receipt": {"hold": ["bash"]}}), "--become"]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    running = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        first = running.stdout.readline()
    finally:
        host.run("systemctl stop lab-hold")  # the first boot ends its update
    output = first + running.communicate()[0]
    assert f"waiting up to 600 s for {path}, which python3 (pid" in first, output
    assert running.returncode == 0, output
