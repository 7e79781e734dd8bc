"""A host for fault tests: a case begins with an active architect and ends with one answering agent or a reason."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from testinfra.host import Host
from testinfra.utils.ansible_runner import AnsibleRunner

INVENTORY = os.environ.get("MOLECULE_INVENTORY_FILE", "")
# An empty path would make Ansible use the current folder as an inventory and run every program in it.
assert Path(INVENTORY).is_file(), "run these tests through molecule verify"
# Each worker has its own host.
HOSTS = sorted(AnsibleRunner(INVENTORY).get_hosts("gpu_hosts"))
NAME = HOSTS[int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])]
STATE = "/var/lib/roundhouse/state"
HISTORY = f"{STATE}/history.jsonl"
AGENTS = ("architect", "dev", "po")
PORTS = dict(zip(AGENTS, (8000, 8001, 8002), strict=True))
PLAN = "/etc/roundhouse/plan.json"
CASE_UNIT = "/run/systemd/system/roundhouse-%s.service.d/case.conf"  # a drop-in of an agent's unit
AT_ONCE = ("[Service]", "RestartSec=0.2")  # restart an ended engine at once instead of after 5 s
CASES = 40  # least number of cases of the whole suite


class SwitchHost:
    """The host under test."""

    since = "0"  # Start of the case in seconds since the epoch, if the case needs it.
    known: str | None = None  # The agent that answered its canary at the end of the previous case.

    def __init__(self, host: Host, plan: dict[str, Any]) -> None:
        self.host, self.plan = host, plan
        self.said = ""
        self.cleanup: list[str] = []  # commands that undo the case's changes
        # See lab/fake/kill_at.py. Each case has its own gate, because an engine may survive its case.
        self.gate = f"/run/lab-gate.{time.monotonic_ns()}"

    def run(self, *words: str) -> dict[str, Any]:
        """Run the command with --json and return its object, with the exit status as `rc`; keep the output."""
        answer = self.ask(*words)
        self.said = answer["errors"][0]["message"] if answer["errors"] else f"{' '.join(words)}: done"
        return answer

    def ask(self, *words: str) -> dict[str, Any]:
        """Run a command that changes nothing and return its object."""
        result = self.host.run("roundhouse --json " + " ".join(words))
        return {**json.loads(result.stdout), "rc": result.rc}

    def refused(self, *words: str) -> str:
        """Run a switch that must fail, and return its message."""
        answer = self.run(*words)
        assert answer["rc"] == 1, answer
        return str(answer["errors"][0]["message"])

    def killed(self, phase: str, signal: int, *words: str) -> dict[str, Any]:
        """Run a switch, send it a signal in a phase, and open the gate."""
        return dict(json.loads(self.host.check_output(f"lab-kill {phase} {signal} {' '.join(words)}")))

    def fault(self, agent: str, options: str) -> None:
        """Give the agent's next engines a fault, which remains until the case ends."""
        self.host.check_output(
            f"echo '{options}' > /etc/lab-engine/{agent}" if options else f"rm -f /etc/lab-engine/{agent}"
        )

    def restart(self, agent: str, options: str) -> None:
        """Restart the agent with a fault."""
        self.fault(agent, options)
        # Starts by a case must not count against the agent's start limit.
        self.host.check_output(f"systemctl reset-failed roundhouse-{agent}; systemctl restart roundhouse-{agent}")

    def limit(self, *names: str, **seconds: float) -> None:
        """Shorten limits of agents in the plan, only for this case; other cases have those of a real host."""
        self.cleanup = [f"cp -p {PLAN}.lab {PLAN}", *self.cleanup]
        agents = [agent | seconds if agent["name"] in names else agent for agent in self.plan["agents"]]
        self.host.check_output("echo %s > %s", json.dumps(self.plan | {"agents": agents}), PLAN)

    def limit_unit(self, agent: str, *lines: str) -> None:
        """Add lines to the agent's unit, only for this case."""
        path = CASE_UNIT % agent
        self.cleanup.append(f"rm -rf {Path(path).parent} && systemctl daemon-reload")
        self.host.check_output(drop_in(path, *lines) + " && systemctl daemon-reload")

    def meanwhile(self, note: str, command: str) -> None:
        """Run a command in the background once the journal of the next switch contains a note."""
        script = f"until grep -qs '{note}' {STATE}/switch.json; do sleep 0.05; done; {command}"
        self.host.check_output("systemd-run --quiet --collect --unit lab-client-meanwhile sh -c %s", script)

    def close_gate(self) -> None:
        """Close the gate, which blocks what waits for it until a switch is killed or the case ends."""
        self.host.check_output(f"touch {self.gate}")

    def request(self, agent: str, tokens: int, prompt: str = "go on") -> None:
        """Send a request to an agent in the background; it generates 100 tokens per second while the gate is open."""
        body = json.dumps({"model": agent, "prompt": prompt, "max_tokens": tokens})
        url = f"http://127.0.0.1:{PORTS[agent]}/v1/completions"
        code = f"import urllib.request as u; print(u.urlopen({url!r}, {body.encode()!r}).status)"
        self.host.check_output("systemd-run --quiet --collect --unit lab-client python3 -c %s", code)
        self.until('roundhouse status --json | grep -q "running.: 1"')

    def until(self, condition: str) -> None:
        """Wait for a condition of the host's shell, with a limit."""
        self.host.check_output("timeout 90 sh -c %s", f"until {condition}; do sleep 0.1; done")

    def serving(self) -> list[str]:
        """Return the agents whose units are ready."""
        return [row["agent"] for row in self.ask("status")["agents"] if row["state"] == "ready"]

    def journal(self) -> bool:
        """Return whether the journal of a running switch exists."""
        return bool(self.host.file(f"{STATE}/switch.json").exists)

    def history(self) -> dict[str, Any]:
        """Return the last switch."""
        return dict(self.ask("history")["switches"][-1])


@pytest.fixture(scope="session")
def host() -> Host:
    """Return the host."""
    return Host.get_host(f"docker://{NAME}")


def drop_in(path: str, *lines: str) -> str:
    """Return the command that writes a drop-in of a unit."""
    text = "\\n".join(lines)
    return f"mkdir -p {Path(path).parent} && printf '{text}\\n' > {path}"


@pytest.fixture(scope="session")
def plan(host: Host) -> dict[str, Any]:
    """Return the deployed plan."""
    host.check_output(f"cp -p {PLAN} {PLAN}.lab")
    return dict(json.loads(host.file(PLAN).content_string))


@pytest.fixture
def switch_host(host: Host, plan: dict[str, Any], request: pytest.FixtureRequest) -> Iterator[SwitchHost]:
    """Begin with any active agent, end with one agent that answers its canary; print the output of the case."""
    table = SwitchHost(host, plan)
    yield table
    said = table.said
    cleanup = [
        "rm -f /etc/lab-engine/* /run/lab-gate.*",
        "systemctl stop 'lab-client*' 'lab-stranger*'",
        # doctor reports a crash for a day: to the next case it would be a finding.
        f"""(test ! -e {HISTORY} || sed --in-place '/"outcome": "crashed"/d' {HISTORY})""",
        *table.cleanup,
    ]
    units = " ".join(f"roundhouse-{agent}" for agent in AGENTS)
    host.check_output(f"{' && '.join(cleanup)} && test ! -e {STATE}/switch.json")
    if "No agent is active" in said:
        assert "The rollback to " in said
        host.check_output(f"systemctl stop {units}")  # systemd may have started an engine that read the fault
        assert table.run("architect")["rc"] == 0, table.said
    told = host.run(f"systemctl is-active {units}").stdout
    (serving,) = [agent for agent, state in zip(AGENTS, told.split(), strict=True) if state == "active"]
    # The agent answers its canary without a repair.
    again = table.run(serving)
    assert (again["rc"], again["changed"]) == (0, False), table.said
    assert not table.journal()
    SwitchHost.known = serving
    request.node.user_properties.append(("outcome", f"{serving} serves; {said}"))


@pytest.fixture
def table(switch_host: SwitchHost) -> SwitchHost:
    """Begin with an active architect."""
    if SwitchHost.known != "architect":
        assert switch_host.run("architect", "--drain", "0")["rc"] == 0, switch_host.said
    SwitchHost.known, switch_host.said = None, ""
    return switch_host


@pytest.fixture(scope="session")
def address() -> Callable[[str], str]:
    """Return a function that returns the address of an agent's API, through the lab's forwarding."""
    networks = docker.from_env().containers.get(NAME).attrs["NetworkSettings"]["Networks"]
    ip = next(iter(networks.values()))["IPAddress"]
    return lambda agent: f"http://{ip}:1{PORTS[agent]}/v1"


def outcomes(reporter: Any) -> dict[str, str]:
    """Return the outcome of each case by its name."""
    ended = [report for report in reporter.getreports("") if report.when == "teardown"]
    told = [(report.nodeid, text) for report in ended for name, text in report.user_properties if name == "outcome"]
    return {name.rpartition("::")[2]: text for name, text in told}


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print each case with its outcome."""
    found = outcomes(terminalreporter)
    terminalreporter.section(f"{len(found)} cases, one agent that answers after each")
    for name, outcome in sorted(found.items()):
        terminalreporter.write_line(f"{name}: {outcome}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run of the whole suite with too few cases."""
    config = session.config
    files = {file.name for file in Path(__file__).parent.glob("test_*.py")}
    whole = files <= {Path(given).name for given in config.args} or any(Path(given).is_dir() for given in config.args)
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if not whole or config.option.keyword or not reporter or hasattr(config, "workerinput"):
        return
    if len(outcomes(reporter)) < CASES:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
