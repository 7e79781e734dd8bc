#!/usr/bin/env python3
"""Compare a run of site.yml that changes nothing with a number of pings: `benchmarks/site_run.py [HOSTS]` (default 10).

The program creates a lab host with the fake engine and deploys everything on it with site.yml. The gateway has keys,
TLS and agents on demand. The other hosts are created from its image. Then three runs alternate: site.yml on one host,
PINGS calls of `ansible -m ping`, and site.yml on all hosts. The program exits 1 if the run on one host changes the host
or takes longer than the pings. It also exits 1 if the run on all hosts takes longer than MANY times the run on one.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ansible_runner
import yaml

ROOT = Path(__file__).resolve().parents[1]
HOST, IMAGE = "roundhouse-site", "roundhouse-lab:site-run"
PINGS, MANY, RUNS, HOSTS, SLOWEST = 12, 3.0, 3, 10, 8
# Differences from the lab's own hosts: an installed fake engine, and a gateway with all its options.
SETTINGS = {
    "engine_path": "/opt/lab-engine",
    "engine_python": "python3",
    "agents_start_timeout_seconds": 60,
    "gateway_listen": "0.0.0.0",  # noqa: S104 - inside the lab
    "gateway_on_demand": True,
}


def main() -> int:
    """Print both ratios and the slowest tasks; return 1 if a ratio is above its limit."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else HOSTS
    names = [f"{HOST}-{number}" for number in range(1, count + 1)]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        inventory = write_inventory(folder, names)
        try:
            make_hosts(folder, inventory, names)
            return measure(inventory, names)
        finally:
            lab("destroy", folder, [{"name": name} for name in names])
            subprocess.run(["docker", "image", "rm", "--force", IMAGE], capture_output=True, check=False)


def measure(inventory: Path, names: list[str]) -> int:
    """Run everything in turns and compare the medians."""
    one, pings, many = [], [], []
    for _ in range(RUNS):
        one.append(timed(lambda: site(inventory, names[0])))
        pings.append(timed(lambda: [ping(inventory, names[0]) for _ in range(PINGS)]))
        many.append(timed(lambda: site(inventory, "all")) if names[1:] else one[-1])
    changed = details(inventory, names[0])
    mine, theirs, all_of_them = (statistics.median(column) for column in (one, pings, many))
    print(f"one host, nothing to change: {mine:.1f} s; {PINGS} calls of ansible -m ping: {theirs:.1f} s;", end=" ")
    print(f"ratio {mine / theirs:.2f} (at most 1), {mine / theirs * PINGS:.1f} pings; median of {RUNS} by turns")
    print(f"{len(names)} hosts: {all_of_them:.1f} s, {all_of_them / mine:.2f} times one (at most {MANY})")
    return int(changed > 0 or mine > theirs or all_of_them > MANY * mine)


def details(inventory: Path, host: str) -> int:
    """Print the number of tasks and executions of one run and the slowest tasks; return the number of changed tasks."""
    begun = time.time()
    with tempfile.TemporaryDirectory() as private:
        done = ansible_runner.run(
            private_data_dir=private,
            playbook="site.yml",
            inventory=str(inventory),
            limit=host,
            project_dir=str(ROOT),
            envvars={"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
            quiet=True,
        )
        if done.rc != 0:
            raise SystemExit(f"site.yml failed on {host}:\n{done.stdout.read()[-2000:]}")
        told = [each for each in done.events if each["event"] in ("runner_on_ok", "runner_on_skipped")]
    ran = [each["event_data"] for each in told if each["event"] == "runner_on_ok"]
    changed = sum(bool(data["res"].get("changed")) for data in ran)
    print(f"{len(told)} tasks, of them {len(told) - len(ran)} skipped, {changed} changed;", end=" ")
    print(f"{executions(host, begun)} executions on the host; the slowest tasks, in seconds:")
    for data in sorted(ran, key=lambda data: data["duration"], reverse=True)[:SLOWEST]:
        print(f"{data['duration']:6.2f}  {data['task']}")
    return changed


def executions(host: str, begun: float) -> int:
    """Return the processes that Docker has started in the host since then."""
    given = ["--filter", f"container={host}", "--filter", "event=exec_start", "--since", f"{begun:.3f}"]
    command = ["docker", "events", *given, "--until", f"{time.time():.3f}", "--format", "{{.ID}}"]
    return len(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines())


def site(inventory: Path, limit: str) -> None:
    """Run site.yml."""
    run(["ansible-playbook", "--inventory", str(inventory), "--limit", limit, "site.yml"])


def ping(inventory: Path, host: str) -> None:
    """Run one ping in its own call."""
    run(["ansible", "--inventory", str(inventory), host, "--module-name", "ping"])


def timed(work: Any) -> float:
    """Return the seconds that a call takes."""
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def write_inventory(folder: Path, names: list[str]) -> Path:
    """Write an inventory of the hosts with the lab's variables; the lock files belong to this run."""
    (folder / "hosts.yml").write_text(
        yaml.safe_dump({"gpu_hosts": {"children": {"site": {"hosts": dict.fromkeys(names)}}}})
    )
    (folder / "group_vars").mkdir()
    for group in ("all", "gpu_hosts"):
        (folder / "group_vars" / group).symlink_to(ROOT / "inventory/lab/group_vars" / group)
    locks = {f"{kind}_lock": str(folder / f"{kind}.lock") for kind in ("models", "container_image")}
    (folder / "group_vars/site.yml").write_text(yaml.safe_dump(SETTINGS | locks))
    return folder / "hosts.yml"


def make_hosts(folder: Path, inventory: Path, names: list[str]) -> None:
    """Create the first host, deploy on it, and create the others from its image."""
    first = names[0]
    lab("create", folder, [{"name": first, "suite": "bookworm", "layer": "fake"}])
    site(inventory, first)
    if names[1:]:
        run(["docker", "commit", first, IMAGE])
        lab("create", folder, [{"name": name, "suite": "bookworm", "image": IMAGE} for name in names[1:]])
        site(inventory, "all")


def lab(word: str, folder: Path, hosts: list[dict[str, str]]) -> None:
    """Run lab/create.yml or lab/destroy.yml for these hosts."""
    given = folder / "lab.yml"
    given.write_text(yaml.safe_dump({"lab_hosts": hosts, "lab_volumes": []}))
    run(["ansible-playbook", "--inventory", "inventory/lab", f"lab/{word}.yml", "--extra-vars", f"@{given}"])


def run(command: list[str]) -> None:
    """Run a command in the checkout; show its output if it fails."""
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-3000:]}")


if __name__ == "__main__":
    raise SystemExit(main())
