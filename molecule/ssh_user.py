"""A user over a real sshd who becomes root with a password, as an operator of real hosts does."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from testinfra.host import Host

USER = "ops"


def create(host: Host, address: str, folder: Path, sudo_password: str) -> list[str]:
    """Give the host a real sshd and the user; return the options of Ansible for that user.

    `folder` gets the user's key and password. Raises AssertionError or CalledProcessError.
    """
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
    host.check_output(
        "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "
        "openssh-server sudo >/dev/null && systemctl start ssh"
    )
    host.check_output(f"useradd --create-home --shell /bin/bash {USER}")
    host.check_output(f"echo {USER}:{sudo_password} | chpasswd")
    host.check_output(f"echo '{USER} ALL=(ALL:ALL) ALL' >/etc/sudoers.d/{USER}")
    key = (folder / "key.pub").read_text().strip()
    host.check_output(
        f"install -d -m 700 -o {USER} /home/{USER}/.ssh && echo '{key}' >/home/{USER}/.ssh/authorized_keys"
    )
    (folder / "password").write_text(sudo_password + "\n")
    unknown = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    variables = {"ansible_connection": "ssh", "ansible_host": address, "ansible_user": USER}
    variables |= {"ansible_ssh_private_key_file": str(folder / "key"), "ansible_ssh_common_args": unknown}
    return ["--become-password-file", str(folder / "password"), "--extra-vars", json.dumps(variables)]
