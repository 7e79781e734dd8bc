#!/usr/bin/env python3
"""Compare a run of the host's roles that changes nothing with a number of pings: `benchmarks/host_roles.py`.

The program runs the roles nvidia_driver, container_engine and nvidia_container_toolkit on a host that is already
prepared. Then it runs as many `ansible.builtin.ping` tasks as the roles had tasks on the host, on the same connection.
Debug tasks and skipped tasks do not count. Both runs alternate. The program exits 1 if the roles change the host or
take more than LIMIT times the pings' time.

The hosts are those of molecule's scenario bare-host: run `molecule converge --scenario-name bare-host` first.

    benchmarks/host_roles.py [HOST]
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import ansible_runner
import yaml

ROOT = Path(__file__).resolve().parents[1]
RUNS = 3
LIMIT = 1.5
HOST = "roundhouse-bare-trixie"
# Actions that Ansible runs only on the controller.
CONTROLLER = {"debug", "assert", "fail", "include_tasks", "include_role", "set_fact", "validate_argument_spec"}


def run(playbook: Path, host: str, inventory: str) -> tuple[float, int, int]:
    """Return the seconds of a run, the number of its tasks on the host, and the number of changed tasks."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as private:
        done = ansible_runner.run(
            private_data_dir=private,
            playbook=str(playbook),
            inventory=inventory,
            limit=host,
            project_dir=str(ROOT),
            envvars={"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
            quiet=True,
        )
        seconds = time.monotonic() - begun
        if done.rc != 0:
            raise SystemExit(f"{playbook.name} failed on {host}:\n{done.stdout.read()[-2000:]}")
        told = [event["event_data"] for event in done.events if event["event"] == "runner_on_ok"]
    sent = [data for data in told if data["task_action"].rpartition(".")[2] not in CONTROLLER]
    return seconds, len(sent), sum(bool(data["res"].get("changed")) for data in told)


def pings(count: int, folder: Path) -> Path:
    """Write a play with `count` tasks, including its gathering of facts."""
    tasks = [{"name": f"Ping {number}", "ansible.builtin.ping": {}} for number in range(count)]
    path = folder / "pings.yml"
    path.write_text(yaml.safe_dump([{"hosts": "gpu_hosts", "become": True, "gather_facts": False, "tasks": tasks}]))
    return path


def main() -> int:
    """Print the seconds of both and their ratio; return 1 if the ratio is above the limit."""
    host = sys.argv[1] if len(sys.argv) > 1 else HOST
    # Each checkout's scenario has its own folder. The one that was converged last is used.
    found = sorted(
        Path.home().glob(".ansible/tmp/molecule.*.bare-host/inventory"), key=lambda path: path.stat().st_mtime
    )
    inventory = os.environ.get("MOLECULE_INVENTORY_FILE") or (str(found[-1]) if found else "")
    if not inventory:
        print("no hosts: molecule converge --scenario-name bare-host first", file=sys.stderr)
        return 2
    roles = ROOT / "molecule/bare-host/roles.yml"
    _, count, changed = run(roles, host, inventory)
    if changed:
        print(f"the roles changed {changed} things: this is not the run that is measured", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        other = pings(count, Path(folder))
        times = [(run(roles, host, inventory)[0], run(other, host, inventory)[0]) for _ in range(RUNS)]
    mine, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = mine / theirs
    print(
        f"{count} tasks on {host}, nothing to change: {mine:.1f} s; as many pings: {theirs:.1f} s; ratio {ratio:.2f} "
        f"(at most {LIMIT}), median of {RUNS} by turns"
    )
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    raise SystemExit(main())
