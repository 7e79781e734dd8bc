"""A run waits while the host's first boot locks apt, and shows which process it waits for."""

import json
import os
import subprocess

import pytest
from conftest import INVENTORY, ROOT

ONLY = "bookworm"
HOLD = "import fcntl, time; file = open('{path}', 'w'); fcntl.lockf(file, fcntl.LOCK_EX); time.sleep(20)"


@pytest.mark.parametrize("path", ["/var/lib/apt/lists/lock", "/var/lib/dpkg/lock-frontend"])
def test_a_locked_apt_is_waited_for(host, path):
    host.check_output('systemd-run --unit lab-hold --collect python3 -c "%s"', HOLD.format(path=path))
    command = ["ansible", "--inventory", INVENTORY, host.backend.hostname, "--module-name", "roundhouse_host_files"]
    command += ["--args", json.dumps({"receipt": {"hold": ["bash"]}}), "--become"]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"waiting up to 600 s for {path}, which python3 (pid" in " ".join(done.stdout.split())
    assert "lab-hold" not in host.check_output("systemctl list-units --plain --no-legend 'lab-hold*'")
