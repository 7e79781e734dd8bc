"""A hub on the network of the lab's hosts, and the playbook that pulls from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import docker
import pytest
from testinfra.host import Host

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "tests/unit"), str(ROOT / "scripts")]
from faulty_hub import MIB, FaultyHub, make_model

# An empty path would make Ansible take this checkout for an inventory, and run every program in it.
INVENTORY = Path(os.environ["MOLECULE_INVENTORY_FILE"] or "/unset").resolve(strict=True)
NAMES = ("roundhouse-site-m1", "roundhouse-models-2")
STORE = "/tmp/store"
WEIGHTS = "model-00001-of-00002.safetensors"


@pytest.fixture(scope="session")
def hosts():
    """Return both hosts, by docker exec."""
    return [Host.get_host(f"docker://{name}") for name in NAMES]


@pytest.fixture(scope="session")
def hub(tmp_path_factory):
    """Run a hub that the hosts reach at their network's gateway, which is this machine."""
    root = tmp_path_factory.mktemp("hub") / "root"
    make_model(root / "small", {WEIGHTS: 6 * MIB, "model-00002-of-00002.safetensors": 6 * MIB})
    networks = docker.from_env().containers.get(NAMES[0]).attrs["NetworkSettings"]["Networks"]
    with FaultyHub(root, next(iter(networks.values()))["Gateway"]) as running:
        yield running


class Played(NamedTuple):
    """A play's end: its exit status, its whole output, each line with the second it came."""

    returncode: int
    output: str
    lines: list[tuple[float, str]]

    def changed(self) -> list[str]:
        """Return the hosts on which something changed."""
        recap = self.output.partition("PLAY RECAP")[2].splitlines()
        return [line.split()[0] for line in recap if ":" in line and "changed=0" not in line]


@pytest.fixture
def play(hub, tmp_path):
    """Return how to run the playbook with some variables changed, from a lock file of this test's own."""

    def run(variables=None, *options, limit=NAMES, playbook="playbooks/models.yml", vault=None, seen=id):
        given = {
            "lab_model": "lab/small",
            "models_store": STORE,
            "models_lock": str(tmp_path / "models.lock"),
            "models_environment": {"HF_ENDPOINT": hub.url},
            **(variables or {}),
        }
        command = ["ansible-playbook", "--inventory", str(INVENTORY)]
        command += ["--limit", ",".join(limit), "--extra-vars", f"@{_written(tmp_path, given)}", *options, playbook]
        command += _locked_away(tmp_path, vault) if vault else []
        environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "PYTHONUNBUFFERED": "1"}
        environment["ANSIBLE_FORCE_COLOR"] = "0"  # molecule asks for colours
        begun, lines = time.monotonic(), []
        running = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for line in running.stdout:
            lines.append((time.monotonic() - begun, line))
            seen(line)
        return Played(running.wait(), "".join(line for _, line in lines), lines)

    return run


def _written(folder: Path, variables: dict) -> Path:
    """Write the variables into a file: on the command line, a token would be seen by the test itself."""
    path = folder / "variables.json"
    path.write_text(json.dumps(variables))
    return path


def _locked_away(folder: Path, variables: dict) -> list[str]:
    """Write the variables into a vault of Ansible's; return the options that open it."""
    (folder / "vault.yml").write_text(json.dumps(variables))
    (folder / "password").write_text("the vault's own")
    opened = ["--vault-password-file", str(folder / "password")]
    subprocess.run(["ansible-vault", "encrypt", *opened, str(folder / "vault.yml")], check=True, cwd=ROOT)
    assert (folder / "vault.yml").read_text().startswith("$ANSIBLE_VAULT;")
    return [*opened, "--extra-vars", f"@{folder / 'vault.yml'}"]


@pytest.fixture
def fresh(hosts):
    """Take away what earlier tests pulled."""
    for host in hosts:
        host.check_output(f"rm -rf {STORE}")
