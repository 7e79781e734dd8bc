#!/usr/bin/env python3
"""Print the image of a lab host on which playbooks have run, and build the image if its inputs changed.

    deployed.py PLATFORM VARIABLES

PLATFORM is a platform of a scenario as JSON, as in lab/create.yml. Its key `deployed` names the playbook. VARIABLES is
the file of the host's variables, and hosts that link to the same file share the image. Images of other inputs are
removed, unless a host uses them. An image does not contain volumes, so the host has none during the build.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# Inputs of a deployment besides the playbook, the host's variables and the base image.
INPUTS = (
    *("ansible.cfg", "group_vars", "inventory", "lab/create.yml", "lab/deployed.py", "playbooks", "plugins"),
    *("requirements", "roles", "scripts", "src"),
)
NAME = "roundhouse-lab:deployed"
HOST = "roundhouse-deploying"
LOCK = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "roundhouse" / "deployed.lock"


def key_of(base: str, host: dict[str, Any], playbook: Path, variables: Path) -> str:
    """Return a hash of all inputs of the image, without the host's name."""
    platform = json.dumps({name: value for name, value in host.items() if name != "name"}, sort_keys=True)
    found = [path for name in INPUTS for path in (ROOT / name, *(ROOT / name).rglob("*"))]
    files = sorted({path for path in found if path.is_file() and path.suffix != ".pyc"})
    parts = [base, platform, *(f"{path.relative_to(ROOT)} {digest(path)}" for path in files)]
    return hashlib.sha256("\n".join([*parts, digest(playbook), digest(variables)]).encode()).hexdigest()[:12]


def digest(path: Path) -> str:
    """Return the hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def output(*command: str | Path) -> str:
    """Return a command's standard output; standard error is passed on. Raises CalledProcessError."""
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def play(playbook: Path, *options: str) -> None:
    """Run a playbook with the lab's inventory; its output goes to stderr. Raises CalledProcessError."""
    command = ["ansible-playbook", "--inventory", "inventory/lab", *options, str(playbook)]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=sys.stderr)


def make(image: str, host: dict[str, Any], playbook: Path, variables: Path) -> None:
    """Start a host, run the playbook on it, commit its image, and remove the host."""
    lab = ("--extra-vars", json.dumps({"lab_hosts": [host], "lab_volumes": []}))
    with tempfile.NamedTemporaryFile("w", suffix=".json") as inventory:
        json.dump({name: {"hosts": {host["name"]: {}}} for name in host.get("groups", [])}, inventory)
        inventory.flush()
        play(ROOT / "lab/create.yml", *lab)
        try:
            play(playbook, "--inventory", inventory.name, "--limit", host["name"], "--extra-vars", f"@{variables}")
            output("docker", "commit", host["name"], image)
        finally:
            play(ROOT / "lab/destroy.yml", *lab)


def remove_leftovers() -> None:
    """Remove the hosts of killed builds, because a new build would continue on one and commit its state.

    The caller holds the lock, so no build is running.
    """
    for left in output("docker", "ps", "--all", "--format", "{{.Names}}", "--filter", f"name=^{HOST}-").split():
        output("docker", "rm", "--force", left)


def main(platform: str, variables: str) -> int:
    """Print the image's name, after the line `built` if this call built it."""
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    with LOCK.open("w") as lock:  # two concurrent scenarios may need the same image
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("deployed: waiting for another build of a deployed host", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        return print_image(json.loads(platform), Path(variables))


def print_image(host: dict[str, Any], variables: Path) -> int:
    """Print the image's name as main does; the caller holds the lock."""
    remove_leftovers()
    playbook = ROOT / host.pop("deployed")
    base = output(ROOT / "lab/image.sh", host["suite"], host.get("layer", "")).splitlines()[-1]
    kept = f"{NAME}-{Path(variables).resolve().stem}-{host['suite']}"
    image = f"{kept}-{key_of(base, host, playbook, variables)}"
    if not output("docker", "images", "--quiet", image):
        make(image, host | {"name": f"{HOST}-{image.rpartition('-')[2]}"}, playbook, variables)
        for old in {*output("docker", "images", "--format", "{{.Repository}}:{{.Tag}}", f"{kept}-*").split()} - {image}:
            subprocess.run(["docker", "rmi", old], check=False, stdout=subprocess.DEVNULL)  # a host may use it
        print("built")
    print(image)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
