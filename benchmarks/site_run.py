#!/usr/bin/env python3
"""What site.yml costs that has nothing to change, in pings: `benchmarks/site_run.py [HOSTS]` (ten when left out).

Makes a lab host whose engine is the fake one, deploys everything on it with site.yml, the gateway with keys, TLS and
agents on demand too, and as many more from its image. Then by turns: site.yml on the one host, `ansible -m ping` as
often as PINGS says, each a call of its own, and site.yml on all hosts. Exits 1 when the run on one host changes
something or takes longer than the pings, or the run on all hosts longer than MANY times the run on one.
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
# What differs from the lab's own hosts: a fake engine, which is there, and a gateway with all that it may have.
SETTINGS = {
    "engine_path": "/opt/lab-engine",
    "engine_python": "python3",
    "agents_start_timeout_seconds": 60,
    "gateway_listen": "0.0.0.0",  # noqa: S104 - inside the lab
    "gateway_on_demand": True,
}


def main() -> int:
    """Print both ratios and where the seconds go; return 1 when one is above its limit."""
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
    """Run everything by turns and compare the medians."""
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
    """Print how many tasks and executions one run has and which take longest; return how many changed something."""
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
    """Return what Docker has started in the host since then."""
    given = ["--filter", f"container={host}", "--filter", "event=exec_start", "--since", f"{begun:.3f}"]
    command = ["docker", "events", *given, "--until", f"{time.time():.3f}", "--format", "{{.ID}}"]
    return len(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines())


def site(inventory: Path, limit: str) -> None:
    """Run site.yml."""
    run(["ansible-playbook", "--inventory", str(inventory), "--limit", limit, "site.yml"])


def ping(inventory: Path, host: str) -> None:
    """Run one ping, as an own call."""
    run(["ansible", "--inventory", str(inventory), host, "--module-name", "ping"])


def timed(work: Any) -> float:
    """Return the seconds that it takes."""
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def write_inventory(folder: Path, names: list[str]) -> Path:
    """Write the hosts beside the lab's variables; the locks are of this run alone."""
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
    """Make the first host, deploy on it, and make the others from its image."""
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
    """Run a command in the checkout; its output is shown when it fails."""
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-3000:]}")


if __name__ == "__main__":
    raise SystemExit(main())
