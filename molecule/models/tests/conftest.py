"""Fixtures: a hub on the network of the lab's hosts, and the playbook that pulls from it.

Each test file has its own hosts, hub and lock file, so that two files can run at the same time.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import docker
import pytest
from faulty_hub import MIB, FaultyHub, make_model
from testinfra.host import Host

from roundhouse.paths import CHECKOUT as ROOT

# An empty path would make Ansible use this checkout as an inventory and run every program in it.
INVENTORY = Path(os.environ["MOLECULE_INVENTORY_FILE"] or "/unset").resolve(strict=True)
PAIR = ("roundhouse-models-1", "roundhouse-models-2")
ALONE = ("roundhouse-models-3",)
STORE = "/tmp/store"
WEIGHTS = "model-00001-of-00002.safetensors"


@pytest.fixture(scope="session")
def pair():
    """Return the two hosts that pull together."""
    return [Host.get_host(f"docker://{name}") for name in PAIR]


@pytest.fixture(scope="session")
def alone():
    """Return the third host."""
    return Host.get_host(f"docker://{ALONE[0]}")


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """Run a hub on this machine, which the hosts reach as their network's gateway."""
    root = tmp_path_factory.mktemp("hub") / "root"
    make_model(root / "small", {WEIGHTS: 6 * MIB, "model-00002-of-00002.safetensors": 6 * MIB})
    networks = docker.from_env().containers.get(PAIR[0]).attrs["NetworkSettings"]["Networks"]
    with FaultyHub(root, next(iter(networks.values()))["Gateway"]) as running:
        yield running


@pytest.fixture(scope="module")
def lock(tmp_path_factory):
    """Return the path of these tests' lock file."""
    return tmp_path_factory.mktemp("lock") / "models.lock"


def folder(hub, store=STORE):
    """Return the model's folder on a host."""
    return f"{store}/lab/small/{hub.repositories.revision('lab/small', 'main')}"


def sums(host, place):
    """Return the SHA-256 of each file of a folder on the host, by name."""
    lines = host.check_output(f"cd {place} && sha256sum *").splitlines()
    return dict(reversed(line.split()) for line in lines)


def wanted(hub):
    """Return the SHA-256 of each of the hub's files, without those that must never be downloaded."""
    paths = sorted(hub.repositories.folder("lab/small").iterdir())
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path.suffix not in (".bin", ".py")
    }


class Played(NamedTuple):
    """The outcome of a play: its exit status, its output, and each line with its time in seconds."""

    returncode: int
    output: str
    lines: list[tuple[float, str]]

    def changed(self) -> list[str]:
        """Return the hosts that changed."""
        recap = self.output.partition("PLAY RECAP")[2].splitlines()
        return [line.split()[0] for line in recap if ":" in line and "changed=0" not in line]


@pytest.fixture(scope="module")
def play(hub, lock, tmp_path_factory):
    """Return a function that runs the playbook with some variables changed."""

    def run(*options, limit=PAIR, vault=None, seen=id, **variables):
        given = {
            "lab_model": "lab/small",
            "models_store": STORE,
            "models_lock": str(lock),
            "models_environment": {"HF_ENDPOINT": hub.url},
            **variables,
        }
        own = tmp_path_factory.mktemp("play")
        command = ["ansible-playbook", "--inventory", str(INVENTORY), "--limit", ",".join(limit)]
        command += ["--extra-vars", f"@{_written(own, given)}", *options, "playbooks/models.yml"]
        command += _locked_away(own, vault) if vault else []
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
    """Write the variables into a file, because the test itself would detect a token on the command line."""
    path = folder / "variables.json"
    path.write_text(json.dumps(variables))
    return path


def _locked_away(folder: Path, variables: dict) -> list[str]:
    """Write the variables into an Ansible vault; return the options that open it."""
    (folder / "vault.yml").write_text(json.dumps(variables))
    (folder / "password").write_text("the vault's own")
    opened = ["--vault-password-file", str(folder / "password")]
    subprocess.run(["ansible-vault", "encrypt", *opened, str(folder / "vault.yml")], check=True, cwd=ROOT)
    assert (folder / "vault.yml").read_text().startswith("$ANSIBLE_VAULT;")
    return [*opened, "--extra-vars", f"@{folder / 'vault.yml'}"]
