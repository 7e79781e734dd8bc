#!/usr/bin/env python3
"""Run a command of the package on a stand-in host: `screen_host.py FOLDER LIVE COMMAND...`.

The plan is the shipped roster's on a card of 16 GB. systemd, the journal, NVML and the engines are stand-ins, and time
passes only while the command sleeps, so its output is the same each time. The sequence of a switch, the diagnosis and
all texts are the package's own. LIVE is the number of requests that run on the active agent, architect.
"""

import datetime
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import screen_facts
from small_server import served
from test_plan_build import build, host, written

from roundhouse.agents import answers, canary, drain, gpu_memory, gpu_usage
from roundhouse.bench import run as bench_run
from roundhouse.checkup import checkup
from roundhouse.cli import main
from roundhouse.cli.commands import bench
from roundhouse.doctor import diagnosis
from roundhouse.gateway import keys
from roundhouse.host import driver, gpu, journal, systemd
from roundhouse.paths import CHECKOUT
from roundhouse.plan import decide, deployed, measured, plan_sets, report
from roundhouse.provision import preflight_table
from roundhouse.state import history, serving
from roundhouse.switch import transaction
from roundhouse.vllm.client import Answer, Load

BEGAN = datetime.datetime(2026, 11, 29, 15, 45, 32, tzinfo=datetime.UTC).timestamp()
LOGS = CHECKOUT / "tests/fixtures/logs"
# Of a start of dev on a card: the second, and the line of vLLM 0.32.
STARTS = (
    (6.0, "(APIServer pid=812) INFO 11-29 15:45:36 [utils.py:253] non-default args: {}"),
    (10.0, "(EngineCore pid=903) INFO 11-29 15:45:45 [core.py:96] Initializing a V1 LLM engine (v0.32.0)"),
    (12.0, "(EngineCore pid=903) INFO 11-29 15:45:48 [gpu_model_runner.py:3] Starting to load model"),
    (16.0, "(EngineCore pid=903) Loading safetensors checkpoint shards:  42% Completed | 3/7"),
    (21.0, "(EngineCore pid=903) INFO 11-29 15:45:57 [gpu_model_runner.py:3] Model loading took 9.36 GiB memory"),
    (33.0, "(EngineCore pid=903) INFO 11-29 15:46:09 [kv_cache_utils.py:8] GPU KV cache size: 51,744 tokens"),
    (35.0, "(EngineCore pid=903) Capturing CUDA graphs (mixed prefill-decode):  50%|#####     | 34/67"),
    (38.0, "(EngineCore pid=903) INFO 11-29 15:46:14 [core.py:218] init engine (profile) took 26 seconds"),
)
READY_SECONDS, DIES_SECONDS, DRAIN_SECONDS = 40.0, 7.5, 4.0
KNOWN = {"loading vLLM": 6.0, "starting the engine": 10.0, "loading weights": 12.0, "first pass": 21.0, "warm-up": 33.0}


class Clock:
    """Time that passes while something sleeps."""

    now = BEGAN

    def read(self):
        return self.now

    def sleep(self, seconds):
        if threading.current_thread() is threading.main_thread():
            self.now += seconds


class Host:
    """Units, engines and logs. Agents in `broken` do not start."""

    def __init__(self, clock, plan, running):
        self.clock, self.running, self.broken = clock, running, set()
        self.agents = {agent["unit"]: agent for agent in plan["agents"]}
        self.by_port = {agent["engine_port"]: agent["unit"] for agent in plan["agents"]}
        self.since = {deployed.unit_name("architect"): ("ready", BEGAN - 3600)}

    def show(self, unit):
        state, since = self.since.get(unit, ("stopped", None))
        seconds = 0 if since is None else self.clock.now - since
        if state == "starting" and unit in self.broken and seconds > DIES_SECONDS:
            state = "failed"
        elif state == "starting" and seconds > READY_SECONDS:
            state = "ready"
        elif state == "draining" and seconds > DRAIN_SECONDS:
            state = "stopped"
        at = time.strftime("%a %Y-%m-%d %H:%M:%S UTC", time.gmtime(since or 0))
        exit_status = 2 if state == "failed" else None
        return systemd.Unit(state, False, 0, exit_status, "exit-code", at, 1, 0, False, unit)

    def start(self, unit):
        self.since[unit] = ("starting", self.clock.now)

    def stop(self, unit, *, wait=True):
        self.since[unit] = ("stopped" if wait or self.show(unit).state == "failed" else "draining", self.clock.now)

    @contextmanager
    def following(self, unit):
        host, begun = self, self.since[unit][1]

        class Log:
            read = -1.0

            def lines(self):
                before, self.read = self.read, host.clock.now - begun
                return [text for at, text in STARTS if before < at <= self.read and unit not in host.broken]

        yield Log()

    def log(self, unit):
        if unit in self.broken:
            return (LOGS / "unknown-option.log").read_text().splitlines()
        return [text for _, text in STARTS]

    def engine(self, host, port):
        unit, running = self.by_port[port], self.running
        up = lambda: self.show(unit).state in ("ready", "draining")  # noqa: E731

        class Engine:
            def load(self, timeout_seconds=1.0):
                return Load(running, 0, 0.42 if running else 0.0) if up() else None

            def listens(self):
                return up()

            def healthy(self):
                return up()

            def served(self, timeout_seconds=5.0):
                return [{"id": "", "root": "", "max_model_len": 29696}]

            def version(self, timeout_seconds=5.0):
                return "0.32.0"

            def canary(self, name, prompt, max_tokens, timeout_seconds):
                return Answer("Paris", [1])

        return Engine()


def card(number=0):
    """Return the card with the active agent and a desktop on it."""
    holders = [
        gpu_memory.Holder(4711, "VLLM::EngineCore", deployed.unit_name("architect"), 13.1),
        gpu_memory.Holder(812, "/usr/lib/xorg/Xorg", None, 0.3, desktop=True),
    ]
    return gpu_memory.Card(number, 15.9, 13.5, holders, "GPU-5f1c")


def plans():
    """Return the rows of two plans."""
    agents = "architect Qwen2.5-14B-Instruct-AWQ, dev Qwen2.5-Coder-14B-Instruct-AWQ, po Qwen2.5-7B-Instruct-AWQ"
    older = {
        "plan": "18b1a2c4",
        "since": "2026-11-20T08:12:40Z",
        "state": "earlier",
        "engine": "0.32.0",
        "agents": agents,
    }
    return [older, older | {"plan": "cad33b94", "since": "2026-11-29T15:18:59Z", "state": "in place"}]


def findings():
    """Return what doctor says of an agent with an unknown option, and of one with a damaged model."""
    logs = {"dev": "unknown-option", "po": "model-damaged"}
    return [
        diagnosis.diagnose(name, (LOGS / f"{log}.log").read_text().splitlines(), exit_status=1)
        for name, log in logs.items()
    ]


def stand_in(folder, running, plan):
    """Replace the host below the package."""
    clock = Clock()
    time.time = time.monotonic = clock.read
    time.sleep = clock.sleep
    time.localtime = time.gmtime
    host = Host(clock, plan, running)
    host.broken = {deployed.unit_name("po")}
    path = folder / "plan.json"
    path.write_text(json.dumps(plan))
    deployed.PATH, deployed.load.__defaults__ = path, (path,)
    serving.LOCK, serving.FOLDER, measured.PATH = folder / "lock", folder / "state", folder / "measured.json"
    systemd.show, systemd.start, systemd.stop = host.show, host.start, host.stop
    systemd.show_all = lambda units: [host.show(unit) for unit in units]
    journal.following, journal.log_of_this_start = host.following, host.log
    for module in (answers, bench_run, canary, drain):
        module.Engine = host.engine
    answers.drift = lambda *_: []
    transaction.check = lambda *_: None
    gpu.read, gpu.facts = lambda library=None: None, lambda answer=None: screen_facts.FACTS
    gpu_usage.ask = lambda *_: screen_facts.LIVE
    gpu_memory.cards = lambda indices, facts=None: [card()]
    gpu_memory.wait_until_free = lambda *_: True
    plan_sets.rows = plans
    driver.rows = lambda: [{"part": "driver", "state": "ok", "ok": True, "remedy": "", "text": "580.150.01 is loaded."}]
    checkup.examine = lambda *_, **__: findings()
    bench_run.measure = lambda _, agent, *__: screen_facts.measurement(agent)
    bench.FOLDER = folder / "bench"
    keys.PATH = folder / "keys.json"
    keys.PATH.write_text(json.dumps({"schema": keys.SCHEMA, "keys": {"default": "rh-1", "anna": "rh-2"}}))
    sys.modules["rich"] = None  # as on most hosts
    os.environ["XDG_STATE_HOME"] = str(folder / "user")
    serving.FOLDER.mkdir()
    _remember(host.agents[deployed.unit_name("dev")]["model_path"])


def _remember(model_path):
    """Write what earlier switches left: the time that a start of dev takes, and the history."""
    started = {"agent": "dev", "model_path": model_path, "seconds": READY_SECONDS, "began": KNOWN}
    (serving.FOLDER / "starts.json").write_text(json.dumps({"schema": 2, "starts": [started]}))
    failed = "po did not start: vllm: error: unrecognized arguments: --max-model-length 3 (exit status 2). "
    for entry in (
        history.Entry(
            BEGAN - 9000, [], "architect", history.DONE, {"free": 0.0, "start": 41.2, "canary": 1.3}, 0, None
        ),
        history.Entry(
            BEGAN - 3700, ["architect"], "po", history.ROLLED_BACK, {"stop": 2.7, "free": 0.1, "start": 7.6}, 2, failed
        ),
    ):
        history.add(entry)


def check(folder, plan):
    """Run the tasks of the role preflight that show the host and the plan, and return the exit status.

    Ansible's own recap is left out, because it is wider than 80 columns.
    """
    rows = [row.as_json() for row in screen_facts.ROWS]
    shown = {
        "table": preflight_table.text(rows),
        "findings": [],
        "text": preflight_table.fitted(report.text(plan, []).splitlines()),
    }
    role = {"ansible.builtin.include_role": {"name": "preflight", "rolespec_validate": False}}
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [role]}
    (folder / "check.yml").write_text(json.dumps([{"name": "Check the roster and the host", **play}]))
    (folder / "given.json").write_text(json.dumps({"preflight_inspection": {"plan": plan, "rows": rows, **shown}}))
    command = ["ansible-playbook", "--inventory", "inventory/local", "--extra-vars", f"@{folder}/given.json"]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(
        [*command, folder / "check.yml"], cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    sys.stdout.write(done.stdout.partition("PLAY RECAP")[0].strip() + "\n")
    return done.returncode


def run(folder, running, words):
    """Run a command, and return its exit status."""
    if words == ["check"]:
        (card,) = host().cards
        card = card._replace(shared_display=True, desktop_gib=screen_facts.DESKTOP_GIB)
        return check(folder, written(build(on=decide.Host((card,)))))
    plan = written(build())
    sys.argv = ["roundhouse", *words]
    if words[0] in ("models", "verify"):
        plan["models_store"] = str(folder / "store")
        sizes = screen_facts.SMALL if words[0] == "verify" else screen_facts.SIZES
        screen_facts.fill_store(folder / "store", plan["agents"], sizes)
    with served(screen_facts.Streaming) as server:
        if words[0] == "chat":
            plan["agents"][0]["port"] = server.server_port
        stand_in(folder, running, plan)
        return main.main(words)


if __name__ == "__main__":
    raise SystemExit(run(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
