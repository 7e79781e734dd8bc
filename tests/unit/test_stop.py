"""`stop` stops the active agent, keeps its record, and never runs during a switch; with the former commands."""

import json
import subprocess
import sys
import threading

import pytest
from clock import TIMEOUT_SECONDS

from roundhouse.agents import drain
from roundhouse.cli import agent_manager, main
from roundhouse.errors import RoundhouseError, UsageError
from roundhouse.gateway import haproxy, on_demand
from roundhouse.host import systemd
from roundhouse.paths import CHECKOUT
from roundhouse.plan import deployed as plan_deployed
from roundhouse.state import history, serving, switch_journal
from roundhouse.switch import stop
from roundhouse.vllm.client import Load

SCRIPTS = CHECKOUT / "scripts"
AGENTS = [
    {
        **{"name": name, "unit": f"roundhouse-{name}.service", "host": "127.0.0.1", "port": port, "model": "/m"},
        **{
            "engine_port": port,
            "model_path": "/m",
            "conflicts": [],
            "config_path": "/c",
            "environment": {},
            "config": {"shutdown-timeout": 30},
        },
    }
    for name, port in (("dev", 8001), ("po", 8002))
]
PLAN = {"schema": plan_deployed.SCHEMA, "agents": AGENTS}


@pytest.fixture
def up(monkeypatch, tmp_path):
    """Return the running units; a unit stops at once, and dev has two requests until then."""
    running = {"roundhouse-dev.service": "ready", "roundhouse-po.service": "stopped"}

    class Engine:
        def __init__(self, host, port):
            self.port = port

        def load(self, timeout_seconds):
            return Load(2, 0, 0.0) if self.port == 8001 and running["roundhouse-dev.service"] == "ready" else None

        def listens(self):
            return False

    monkeypatch.setattr(systemd, "state", running.get)
    monkeypatch.setattr(plan_deployed, "load", lambda path=None: PLAN)
    monkeypatch.setattr(systemd, "stop", lambda name, wait: running.update({name: "stopped"}))
    monkeypatch.setattr(drain, "Engine", Engine)
    monkeypatch.setattr(serving, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(serving, "FOLDER", tmp_path / "state")
    (tmp_path / "state").mkdir()
    return running


@pytest.fixture
def deployed(monkeypatch, tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(PLAN))
    monkeypatch.setattr(plan_deployed, "PATH", path)
    monkeypatch.setattr(plan_deployed.load, "__defaults__", (path,))


def test_the_active_agent_stops_and_stays_on_record(up):
    serving.record("dev", ["po"])
    said = []
    result = stop.stop(PLAN, None, said.append, drain_seconds=0)
    assert (result["stopped"], result["changed"]) == (["dev"], True)
    assert set(up.values()) == {"stopped"}
    assert serving.serving() == ["dev"]
    assert said == ["stopping dev (2 running requests, cut after 0 s)"]
    again = "It starts again on a switch, a reboot, a deployment or `roundhouse resume`."
    assert stop.text(result) == f"dev stopped ({result['seconds']:g} s). {again}"
    assert "2 requests were cut" in stop.text(result | {"cut": 2})


@pytest.mark.parametrize(
    ("port", "settings", "again"),
    [
        (8080, True, "on the next request, a reboot, a deployment or `roundhouse resume`."),
        (8080, False, "on a switch, a reboot, a deployment or `roundhouse resume`."),
        (None, True, "on a switch, a reboot, a deployment or `roundhouse resume`."),
    ],
)
def test_the_result_states_what_starts_the_agent_again(up, monkeypatch, tmp_path, port, settings, again):
    monkeypatch.setattr(on_demand, "PATH", tmp_path / "demand.json")
    if settings:
        on_demand.PATH.write_text("{}")
    monkeypatch.setattr(haproxy, "RUNTIME", str(tmp_path))
    monkeypatch.setattr(plan_deployed, "load", lambda path=None: PLAN | {"gateway_port": port})
    up["roundhouse-po.service"] = "ready"
    both = stop.text(stop.stop(PLAN | {"gateway_port": port}, None, str))
    up["roundhouse-po.service"] = "ready"
    one = stop.text(stop.stop(PLAN | {"gateway_port": port}, None, str))
    assert (one.endswith(f"It starts again {again}"), both.endswith(f"They start again {again}")) == (True, True)


def test_a_starting_agent_is_stopped_too(up):
    up["roundhouse-po.service"] = "starting"
    assert stop.stop(PLAN, None, str)["stopped"] == ["dev", "po"]


def test_stopping_an_agent_that_is_not_active_keeps_the_active_one(up):
    result = stop.stop(PLAN, "po", str)
    assert (result["stopped"], up["roundhouse-dev.service"]) == ([], "ready")
    assert stop.text(result) == "No agent was active."
    with pytest.raises(UsageError):
        stop.stop(PLAN, "nobody", str)


def test_a_killed_switch_stays_for_the_recovery_while_one_of_its_agents_is_up(up):
    up["roundhouse-po.service"] = "ready"
    log = switch_journal.Journal("po", ["dev"])
    log.begin()
    stop.stop(PLAN, "dev", str)
    assert switch_journal.killed().to == "po"


def test_a_stop_ends_a_killed_switch_so_that_no_recovery_starts_its_agents(up):
    log = switch_journal.Journal("po", ["dev"])
    log.begin()
    stop.stop(PLAN, None, str)
    assert switch_journal.killed() is None
    assert history.load()[-1].outcome == history.KILLED


def test_a_stop_during_a_switch_is_refused(up):
    held, done = threading.Event(), threading.Event()

    def switch():
        with serving.switching(str):
            held.set()
            done.wait(TIMEOUT_SECONDS)

    thread = threading.Thread(target=switch)
    thread.start()
    assert held.wait(TIMEOUT_SECONDS)
    try:
        with pytest.raises(RoundhouseError) as error:
            stop.stop(PLAN, None, str)
        assert error.value.code == "switch_running"
        assert up["roundhouse-dev.service"] == "ready"
    finally:
        done.set()
        thread.join()
    assert stop.stop(PLAN, None, str)["stopped"] == ["dev"]


def test_a_stop_that_waits_for_a_switch_reports_it_once(up):
    held, done, said = threading.Event(), threading.Event(), []
    polls = []

    def switch():
        with serving.switching(str):
            held.set()
            done.wait(TIMEOUT_SECONDS)

    def describe():
        polls.append(1)
        if len(polls) == 4:  # polled several times by now, but reported once
            done.set()
        return "to dev"

    thread = threading.Thread(target=switch)
    thread.start()
    assert held.wait(TIMEOUT_SECONDS)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(switch_journal, "describe", describe)
            assert stop.stop(PLAN, None, said.append, wait=True)["stopped"] == ["dev"]
    finally:
        done.set()
        thread.join()
    assert len(polls) >= 4
    assert said[0] == "another switch is running (to dev): waiting for it"
    assert len([sentence for sentence in said if "another switch" in sentence]) == 1


def test_the_word_of_the_command(up, deployed, capsys):
    assert main.main(["stop", "--drain", "nan"]) == 2
    assert main.main(["stop", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], answer["stopped"]) == (True, ["dev"])
    assert main.main(["stop", "dev"]) == 0
    assert capsys.readouterr().out == "No agent was active.\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["--launch", "po"], ["po"]),
        (["--launch", "po", "--wait", "--on", "lab"], ["po", "--wait", "--on", "lab"]),
        (["--gpu-stats"], ["gpu"]),
        (["--gpu-stats", "--json"], ["gpu", "--json"]),
        (["--logs", "architect"], ["logs", "architect"]),
        (["--logs", "architect", "-f", "-n", "5"], ["logs", "architect", "-f", "-n", "5"]),
        (["--status"], ["status"]),
        (["--stop"], ["stop"]),
        (["--stop", "po", "--drain", "5"], ["stop", "po", "--drain", "5"]),
    ],
)
def test_the_users_old_words_are_words_of_the_command(old, new):
    assert agent_manager.words(old) == new
    main.parse(new)


@pytest.mark.parametrize(
    "words", [[], ["--launch"], ["--launch", "status"], ["--status", "--stop"], ["--status", "--no"]]
)
def test_an_invalid_old_word_is_refused(deployed, capsys, words):
    assert agent_manager.main(words) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--gpu-stat"], "scripts/agent_manager.py has no option --gpu-stat. Did you mean --gpu-stats?"),
        (["--status", "--drain", "3"], "scripts/agent_manager.py --status has no option --drain."),
    ],
)
def test_a_refusal_names_the_old_words(capsys, words, sentence):
    assert agent_manager.main(words) == 2
    assert capsys.readouterr().err.startswith(sentence)


def test_the_script_itself(tmp_path):
    done = subprocess.run(
        [sys.executable, SCRIPTS / "agent_manager.py", "--help"], capture_output=True, text=True, check=True
    )
    for word in ("--launch", "--gpu-stats", "--logs", "--status", "--stop"):
        assert word in done.stdout
