"""A real SIGINT or SIGTERM ends a command: the state that it leaves, its error, and the entry in the history."""

import json
import os
import signal
import subprocess
import sys

import pytest
from clock import TIMEOUT_SECONDS, until
from interrupted_command import place
from small_server import Handler, served

from roundhouse.agents import prestart_checks, start_history
from roundhouse.host import systemd
from roundhouse.models import prune, safetensors
from roundhouse.paths import CHECKOUT
from roundhouse.plan import deployed, measured, plan_sets
from roundhouse.state import history, serving, switch_journal
from roundhouse.switch import daemon_socket, failover, resume, transaction

PROGRAM = CHECKOUT / "tests/unit/interrupted_command.py"
SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["sigint", "sigterm"])
# A systemd of files. A unit whose file contains "hangs" never becomes ready. As with real systemd, a unit that is
# stopped while it starts is failed.
SYSTEMCTL = r"""#!/bin/sh
cd FOLDER
echo "$*" >> calls
words=; for word in "$@"; do case $word in -*|*,*) ;; *) words="$words $word";; esac; done
set -- $words
verb=$1; shift
state() { cat "now/$1" 2>/dev/null || echo inactive; }
case $verb in
show)
    first=1
    for unit in "$@"; do
        test $first = 1 || echo
        first=0
        echo "ActiveState=$(state $unit)"
        echo "SubState=x"; echo "NRestarts=0"; echo "ExecMainStatus=0"; echo "ExecMainCode=0"; echo "Result=success"
        echo "ActiveEnterTimestamp="; echo "ExecMainStartTimestampMonotonic=0"; echo "MainPID=0"; echo "Job=0"
        echo "LoadState=loaded"; echo "InvocationID="
    done;;
start) if grep -q hangs units/$1; then echo activating > now/$1; else echo active > now/$1; fi;;
stop) if test "$(state $1)" = activating; then echo failed > now/$1; else echo inactive > now/$1; fi;;
reset-failed) test "$(state $1)" != failed || echo inactive > now/$1;;
esac
"""


class Engine(Handler):
    """An engine that answers its canary. `busy`: a request runs, and does not end."""

    busy = False

    def do_GET(self):
        self._answer(f"vllm:num_requests_running {int(self.server.busy)}\nvllm:num_requests_waiting 0\n")

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        choice = {"message": {"content": "well"}, "token_ids": [1], "finish_reason": "stop"}
        self._answer(json.dumps({"model": asked["model"], "choices": [choice]}))

    def _answer(self, text):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())


class Host:
    """A host below a folder: units as files, the engine of po behind a port, dev's port closed."""

    def __init__(self, folder, port):
        self.folder = folder
        for name in ("now", "units", "bin", "state", "etc"):
            (folder / name).mkdir()
        for name, text in (("systemctl", SYSTEMCTL.replace("FOLDER", str(folder))), ("journalctl", "#!/bin/sh\n")):
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
        self.agents = [self._agent("po", port), self._agent("dev", 9)]
        self.deploy()

    def _agent(self, name, port):
        return {
            **{"name": name, "unit": deployed.unit_name(name), "host": "127.0.0.1", "port": port, "engine_port": port},
            **{"model": "/m", "model_path": "/m", "environment": {}, "start_timeout_seconds": 600},
            **{"gpus": [], "conflicts": [other for other in ("po", "dev") if other != name]},
            **{"config_path": f"{self.folder}/etc/{name}.yaml", "config": {"shutdown-timeout": 1}},
        }

    def deploy(self, hangs=("dev",)):
        """Write the plan's files; a unit of these agents never becomes ready."""
        for agent in self.agents:
            kind = "hangs" if agent["name"] in hangs else "works"
            (self.folder / "units" / agent["unit"]).write_text(f"ExecStart={kind}\n")
            (self.folder / "etc" / f"{agent['name']}.yaml").write_text("{}")
        plan = {"schema": 1, "runtime": "native", "accelerator": "cpu", "engine_path": "/e", "agents": self.agents}
        (self.folder / "plan.json").write_text(json.dumps(plan))

    def set(self, name, state):
        (self.folder / "now" / deployed.unit_name(name)).write_text(f"{state}\n")

    def state(self, name):
        path = self.folder / "now" / deployed.unit_name(name)
        return path.read_text().strip() if path.exists() else "inactive"

    def interrupt(self, number, is_time, *words):
        """Run the command, send it the signal when it is time, and return its status and its one error."""
        command = [sys.executable, PROGRAM, self.folder, "--json", *words]
        environment = os.environ | {"PATH": f"{self.folder}/bin:{os.environ['PATH']}"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as running:
            try:
                until(lambda: running.poll() is not None or is_time())
                running.send_signal(number)
                told, said = running.communicate(timeout=TIMEOUT_SECONDS)
            except BaseException:
                running.kill()
                raise
        assert told, said.decode()
        (error,) = json.loads(told)["errors"]
        return running.returncode, error

    def run(self, *words):
        """Run the command to its end and return its object."""
        command = [sys.executable, PROGRAM, self.folder, "--json", *words]
        environment = os.environ | {"PATH": f"{self.folder}/bin:{os.environ['PATH']}"}
        done = subprocess.run(command, capture_output=True, env=environment, check=False, timeout=TIMEOUT_SECONDS)
        told = json.loads(done.stdout)
        assert told["ok"], told
        return told

    def phase(self):
        """Return the phase of the switch that runs."""
        path = self.folder / "state/switch.json"
        return json.loads(path.read_text())["phase"] if path.exists() else None

    def called(self, words):
        return words in (self.folder / "calls").read_text()


@pytest.fixture
def host(tmp_path, monkeypatch):
    for module, name in (
        (deployed, "PATH"),
        (plan_sets, "FOLDER"),
        (prune, "STAGED"),
        (systemd, "FOLDER"),
        (serving, "FOLDER"),
        (serving, "LOCK"),
        (measured, "PATH"),
        (daemon_socket, "PATH"),
        (prestart_checks, "check_host"),
        (transaction, "check"),
        (resume, "check"),
        (safetensors, "problem"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))  # place() sets them; this sets them back
    monkeypatch.setattr(deployed.load, "__defaults__", deployed.load.__defaults__)
    with served(Engine) as server:
        server.busy = False
        made = Host(tmp_path, server.server_port)
        made.server = server
        place(tmp_path)
        yield made


def entries():
    return [(each.to, each.outcome, each.code) for each in history.load()]


@SIGNALS
def test_an_interrupted_resume_leaves_the_engine_starting(host, number):
    serving.record("dev", ["po"])
    status, error = host.interrupt(number, lambda: host.phase() in ("free", "start"), "resume")
    assert (status, error["code"]) == (130, "interrupted"), error
    assert "The start of dev continues" in error["text"]
    assert (host.state("dev"), host.state("po")) == ("activating", "inactive")
    assert not host.called("stop roundhouse-dev")
    assert entries() == [("dev", history.INTERRUPTED, "interrupted")]
    assert switch_journal.killed() is None


@SIGNALS
def test_an_interrupted_switch_restores_the_previous_agent_and_leaves_no_failed_unit(host, number):
    host.set("po", "active")
    status, error = host.interrupt(number, lambda: host.state("dev") == "activating", "dev", "--drain", "0")
    assert (status, error["code"]) == (130, "interrupted"), error
    assert f"po is active on port {host.server.server_port}" in error["text"]
    # dev was stopped while it started, so systemd calls it failed; the command resets that.
    assert (host.state("po"), host.state("dev")) == ("active", "inactive")
    assert host.called("reset-failed roundhouse-dev.service")
    assert entries() == [("dev", history.INTERRUPTED, "interrupted")]
    assert start_history._failed_switch({"name": "dev"}, start_history.Past([])) is None


@SIGNALS
def test_an_interrupted_stop_leaves_an_agent_active_that_was_not_asked_yet(host, number):
    host.set("po", "active")
    host.server.busy = True
    noted = host.folder / "state/stopped-po"
    status, error = host.interrupt(number, noted.exists, "stop", "--drain", "500")
    assert (status, error["code"]) == (130, "interrupted"), error
    assert "po stays active" in error["text"]
    assert host.state("po") == "active"
    assert "po" not in serving.stopped()
    assert entries() == [("", history.INTERRUPTED, "interrupted")]


@SIGNALS
def test_an_interrupted_rollback_restores_the_deployed_plan(host, number):
    host.deploy(hangs=("po", "dev"))
    plan_sets.record(plan_sets.on_host(), served=True)
    host.deploy(hangs=())
    plan_sets.record(plan_sets.on_host(), served=True)
    in_place = plan_sets.load()[-1].name
    plan_sets.on_host().keep(prune.STAGED / "native")  # as the last site.yml left it
    host.set("po", "active")
    status, error = host.interrupt(number, lambda: host.state("po") == "activating", "rollback", "--drain", "0")
    assert (status, error["code"]) == (130, "interrupted"), error
    assert f"The plan {in_place} is in place again." in error["text"]
    assert "inventory" not in error["message"]  # which describes that plan
    assert "works" in (host.folder / "units/roundhouse-po.service").read_text()
    assert host.state("po") == "active"
    assert entries() == [("po", history.INTERRUPTED, "interrupted")]


def test_a_rollback_names_what_the_next_site_yml_does(host):
    sets = []
    for model in ("/old", "/new"):
        host.agents[0]["model"] = model
        host.deploy(hangs=())
        sets.append(plan_sets.on_host())
        plan_sets.record(sets[-1], served=True)
    old, new = sets
    host.set("po", "active")
    new.keep(prune.STAGED / "native")  # as the last site.yml left it
    told = host.run("rollback", "--drain", "0")
    assert f"The inventory still describes the plan {new.name}" in told["next"]
    assert f"To keep the plan {old.name}" in told["next"]
    assert "po: model: /new -> /old" in told["next"]
    assert "next" not in host.run("rollback", "--drain", "0")  # back to the plan of the inventory


def test_a_failover_leaves_the_card_idle_after_an_interrupt(monkeypatch):
    agent = {"name": "dev", "unit": "roundhouse-dev.service", "conflicts": []}
    unit = systemd.Unit("failed", False, 0, 1, "signal", None, None, 0, False, None)
    monkeypatch.setattr(systemd, "show", lambda name: unit)
    # As systemd records a unit that is stopped while it starts: failed, without a message about the request.
    stopped = start_history.Past([start_history.Start("a", 1.0, ended=2.0, result="signal", exit_status=1)])
    monkeypatch.setattr(start_history, "of", lambda name: stopped)
    assert failover._needless({"agents": [agent]}, agent) == "dev was stopped: no failover is needed."
    crashed = start_history.Past([stopped.starts[0]._replace(failed=True, result="exit-code")])
    monkeypatch.setattr(start_history, "of", lambda name: crashed)
    assert failover._needless({"agents": [agent]}, agent) is None


def test_a_rollback_chooses_its_plan_after_it_has_waited_for_a_deployment(host, monkeypatch):
    for model in ("/1", "/2"):
        host.agents[0]["model"] = model
        host.deploy(hangs=())
        plan_sets.record(plan_sets.on_host(), served=True)
    second = plan_sets.load()[-1].name
    host.set("po", "active")
    command = [sys.executable, PROGRAM, host.folder, "--json", "rollback", "--wait", "--drain", "0"]
    environment = os.environ | {"PATH": f"{host.folder}/bin:{os.environ['PATH']}"}
    with serving.switching(str):
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        assert "waiting" in running.stderr.readline().decode()
        host.agents[0]["model"] = "/3"  # the deployment that it waits for
        host.deploy(hangs=())
        plan_sets.record(plan_sets.on_host(), served=True)
    told, said = running.communicate(timeout=TIMEOUT_SECONDS)
    assert running.returncode == 0, said
    assert json.loads(told)["plan"] == second
