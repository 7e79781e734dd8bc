"""The plays run as a user over ssh who becomes root with a password, as an operator of real hosts does."""

import json
import os
import secrets
import subprocess

import pytest
import ssh_user
from hosts import INVENTORY, ROOT
from ssh_user import USER

OF_THE_PROXY = "a-password-of-the-proxy"


@pytest.fixture(scope="module")
def sudo_password():
    return secrets.token_hex(16)


@pytest.fixture(scope="module")
def ssh(host, address, sudo_password, tmp_path_factory):
    return ssh_user.create(host, address, tmp_path_factory.mktemp("ssh"), sudo_password)


@pytest.fixture
def over_ssh(name, ssh):
    """Return a function that runs an Ansible program on the host over ssh."""

    def run(program, *words):
        command = [program, "--inventory", INVENTORY, "--limit", name, *ssh, *words]
        environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    return run


def test_a_play_becomes_root_with_the_password_and_shows_no_secret(host, over_ssh, sudo_password):
    assert host.run(f"su {USER} -c 'sudo -n true'").rc != 0  # root only with the password
    setting = {"host_proxy_url": f"http://me:{OF_THE_PROXY}@proxy.invalid:3128"}
    done = over_ssh("ansible-playbook", "-vvv", "--diff", "--extra-vars", json.dumps(setting), "playbooks/host.yml")
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert f"ESTABLISH SSH CONNECTION FOR USER: {USER}" in output
    assert "ServerAliveInterval=30" in output
    for name in ("proxy.env", "proxy.apt.conf"):
        found = host.file(f"/etc/roundhouse/{name}")
        assert (found.mode, found.user) == (0o600, "root")
        assert OF_THE_PROXY in found.content_string
    assert OF_THE_PROXY not in output
    assert sudo_password not in output


def test_the_next_play_without_a_proxy_removes_its_files_and_the_one_after_changes_nothing(host, over_ssh):
    done = over_ssh("ansible-playbook", "playbooks/host.yml")
    assert done.returncode == 0, done.stdout
    assert "changed=1" in done.stdout
    assert not host.file("/etc/roundhouse/proxy.env").exists
    done = over_ssh("ansible-playbook", "playbooks/host.yml")
    assert "changed=0" in done.stdout, done.stdout


def test_a_background_job_runs_as_root_and_is_found_again(host, name, over_ssh):
    # The job writes its state into root's home, and the ssh user's next connection reads it there.
    host.check_output("mkdir -m 700 /tmp/store-over-ssh")
    given = {"required_models": [], "store": "/tmp/store-over-ssh", "source": "/tmp/store-over-ssh"}
    words = ["--module-name", "roundhouse_pull", "--args", json.dumps(given)]
    done = over_ssh("ansible", "--become", "--background", "60", "--poll", "0", *words, name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "models: []" in done.stdout
