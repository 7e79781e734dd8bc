"""Run a row of the table (molecule.yml) on its host, record what happened, and print the table at the end."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import ssh_user
import yaml
from testinfra.host import Host

from roundhouse.paths import CHECKOUT as ROOT

INVENTORY = str(Path(os.environ["MOLECULE_INVENTORY_FILE"] or "/unset").resolve(strict=True))
ROWS = {
    platform["name"]: platform["row"]
    for platform in yaml.safe_load((ROOT / "molecule/real-hosts/molecule.yml").read_text())["platforms"]
}
# A relative path is relative to the checkout.
RECORD = ROOT / (os.environ.get("REAL_HOSTS_RECORD") or f"{os.environ['MOLECULE_EPHEMERAL_DIRECTORY']}/real-hosts.json")
from by_host import scheduler

pytest_xdist_make_scheduler = scheduler(list(ROWS))
# The state that a refusal must not change; the lab's own files and generated caches do not count.
STATE = (
    "dpkg-query --show --showformat='${Package} ${Version} ${db:Status-Abbrev}\\n';"
    " find /etc /boot /usr/share/keyrings /lib/modules -xdev -type f -not -path '/etc/lab-*' -printf '%p %s %T@\\n'"
)


# Waits until the repositories are served.
SERVED = "timeout 60 bash -c 'until (: </dev/tcp/127.0.0.1/8899) 2>/dev/null; do sleep 0.5; done'"
UP = ("running", "degraded")


class Run(NamedTuple):
    """The result of a run of playbooks/host.yml: exit status, output in one line, changed tasks and seconds."""

    status: int
    output: str
    changed: int
    seconds: float


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test on the host of each row."""
    metafunc.parametrize("host", [f"docker://{name}" for name in ROWS], indirect=True)


@pytest.fixture
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    """Start the host of a row, put it into the row's start state, and stop it at the end."""
    started: Host = Host.get_host(request.param)
    name = started.backend.hostname
    row = ROWS[name]
    docker("start", name)
    booted(started, 0)
    started.check_output(SERVED)
    for command in row.get("hand", []):
        started.check_output(command)
    if "hand" in row or "machine" in row:
        started.check_output("echo %s >/etc/lab-gpu.json && lab-kernel boot", json.dumps(row.get("machine", {})))
        # The new boot has no device nodes yet.
        started.run("systemctl is-enabled --quiet nvidia-persistenced && systemctl restart nvidia-persistenced")
    yield started
    docker("kill", name)


def docker(*words: str) -> None:
    """Run Docker's client on this machine. Raises CalledProcessError."""
    subprocess.run(["docker", *words], check=True, stdout=subprocess.DEVNULL)


def boots(host: Host) -> int:
    """Return the number of the machine's boots."""
    return int(host.run("wc -l </var/lib/lab/boots").stdout or 0)


def booted(host: Host, before: int) -> None:
    """Wait for the end of a boot; `before` is the number of earlier boots. Raises AssertionError after 60 s."""
    end = time.monotonic() + 60
    while boots(host) <= before or host.run("systemctl is-system-running").stdout.strip() not in UP:
        assert time.monotonic() < end, "the host did not boot within 60 s"
        time.sleep(0.5)


@pytest.fixture
def row(host: Host) -> dict[str, Any]:
    """Return the row of a host."""
    return dict(ROWS[host.backend.hostname])


@pytest.fixture
def words(host: Host, row: dict[str, Any], tmp_path: Path) -> list[str]:
    """Return the options of Ansible with which the row's user connects."""
    if not row.get("ssh"):
        return []
    shape = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    inspect = ["docker", "inspect", "--format", shape, host.backend.hostname]
    address = subprocess.run(inspect, capture_output=True, text=True, check=True).stdout.strip()
    return ssh_user.create(host, address, tmp_path, secrets.token_hex(16))


def play(name: str, settings: dict[str, Any], *words: str, playbook: str = "playbooks/host.yml") -> Run:
    """Run a playbook on one host."""
    command = ["ansible-playbook", "--inventory", INVENTORY, "--limit", name, *words]
    command += ["--extra-vars", json.dumps(settings), str(ROOT / playbook)]
    # molecule asks for colors, whose codes would be in the recorded text.
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"}
    begun = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - begun
    (RECORD.parent / f"{name}.log").open("a").write(done.stdout + done.stderr)
    changed = re.search(r"changed=(\d+)", done.stdout)
    return Run(done.returncode, " ".join(done.stdout.split()), int(changed[1]) if changed else -1, seconds)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table, and write it as JSON. A worker has no complete table."""
    if hasattr(terminalreporter.config, "workerinput"):
        return
    ended = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    found = {
        name: {**dict(report.user_properties), "passed": report.passed}
        for report in ended
        for name in ROWS
        if f"docker://{name}" in report.nodeid
    }
    rows = [{"host": name.removeprefix("roundhouse-real-"), **found[name]} for name in ROWS if name in found]
    RECORD.write_text(json.dumps(rows, indent=1) + "\n")
    terminalreporter.section("real hosts")
    for each in rows:
        verdict = "as wanted" if each["passed"] else "NOT AS WANTED"
        terminalreporter.write_line(
            f"{each['host']:15} {each.get('outcome', 'not run'):9} {each.get('seconds', 0):4} s"
            f" {each.get('reboots', '?')} reboots  second run changed={each.get('second', '-')}  {verdict}"
        )
        for line in [each.get("text", "")] if not each["passed"] or each.get("outcome") == "refused" else []:
            terminalreporter.write_line(f"{'':15} {line[:600]}")
    terminalreporter.write_line(f"table: {RECORD}")
