#!/usr/bin/env python3
"""Print the image of a lab host on which playbooks have run; make it first unless its inputs are the same as last time.

    deployed.py PLATFORM VARIABLES

PLATFORM is a platform of a scenario as JSON, as lab/create.yml has it; its `deployed` names the playbook. VARIABLES is
the file of the host's variables; hosts that share it by links share the image. An image that was made of other inputs
is removed, unless a host has it. What lies in a volume is in no image: such a host has none.
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
# What a deployment depends on, beside the playbook, the host's variables and the image below.
INPUTS = (
    *("ansible.cfg", "group_vars", "inventory", "lab/create.yml", "lab/deployed.py", "playbooks", "plugins"),
    *("requirements", "roles", "scripts", "src"),
)
NAME = "roundhouse-lab:deployed"
HOST = "roundhouse-deploying"
LOCK = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "roundhouse" / "deployed.lock"


def key_of(base: str, host: dict[str, Any], playbook: Path, variables: Path) -> str:
    """Return a hash of everything that goes into the image; the name of its host does not."""
    platform = json.dumps({name: value for name, value in host.items() if name != "name"}, sort_keys=True)
    found = [path for name in INPUTS for path in (ROOT / name, *(ROOT / name).rglob("*"))]
    files = sorted({path for path in found if path.is_file() and path.suffix != ".pyc"})
    parts = [base, platform, *(f"{path.relative_to(ROOT)} {digest(path)}" for path in files)]
    return hashlib.sha256("\n".join([*parts, digest(playbook), digest(variables)]).encode()).hexdigest()[:12]


def digest(path: Path) -> str:
    """Return the hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def output(*command: str | Path) -> str:
    """Return what a command prints; what it says on the way goes to stderr. Raises CalledProcessError."""
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def play(playbook: Path, *options: str) -> None:
    """Run a playbook with the lab's inventory; what it prints goes to stderr. Raises CalledProcessError."""
    command = ["ansible-playbook", "--inventory", "inventory/lab", *options, str(playbook)]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=sys.stderr)


def make(image: str, host: dict[str, Any], playbook: Path, variables: Path) -> None:
    """Start a host, run the playbook on it, keep what it is then, and take the host away."""
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
    """Remove the hosts of builds that were killed: a new build would go on with one, and commit what it has become.

    Whoever calls it holds the lock, so no build is running.
    """
    for left in output("docker", "ps", "--all", "--format", "{{.Names}}", "--filter", f"name=^{HOST}-").split():
        output("docker", "rm", "--force", left)


def main(platform: str, variables: str) -> int:
    """Print the image's name, after `built` where it was made now."""
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    with LOCK.open("w") as lock:  # two scenarios side by side may want the same image
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("deployed: waiting for another build of a deployed host", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        return print_image(json.loads(platform), Path(variables))


def print_image(host: dict[str, Any], variables: Path) -> int:
    """Do what main does, for a caller that holds the lock."""
    remove_leftovers()
    playbook = ROOT / host.pop("deployed")
    base = output(ROOT / "lab/image.sh", host["suite"], host.get("layer", "")).splitlines()[-1]
    kept = f"{NAME}-{Path(variables).resolve().stem}-{host['suite']}"
    image = f"{kept}-{key_of(base, host, playbook, variables)}"
    if not output("docker", "images", "--quiet", image):
        make(image, host | {"name": f"{HOST}-{image.rpartition('-')[2]}"}, playbook, variables)
        for old in {*output("docker", "images", "--format", "{{.Repository}}:{{.Tag}}", f"{kept}-*").split()} - {image}:
            subprocess.run(["docker", "rmi", old], check=False, stdout=subprocess.DEVNULL)  # a host may have it
        print("built")
    print(image)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
