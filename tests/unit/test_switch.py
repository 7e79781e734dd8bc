"""The sequence of a switch, with fake units and engines that fail on request.

What is tested is switch.py and resume.py; systemd and vLLM themselves are molecule's.
"""

import pytest

from roundhouse.agents import canary as agents_canary
from roundhouse.agents import drain
from roundhouse.catalog.gpus import HostCard
from roundhouse.errors import RoundhouseError, UsageError
from roundhouse.host import journal, systemd
from roundhouse.plan import build, decide, deployed, measured
from roundhouse.state import history, serving, switch_journal
from roundhouse.switch import resume, rollback, transaction
from roundhouse.vllm.client import Answer, Load

ROSTER = [
    {"name": "big", "gpus": [0, 1]},
    {"name": "left", "gpus": [0]},
    {"name": "right", "gpus": [1]},
    {"name": "other", "gpus": [1]},
]
OUT_OF_MEMORY = "torch.OutOfMemoryError: CUDA out of memory."


class FakeHost:
    """A host: its active units, those that fail to start or answer nonsense, and the events."""

    def __init__(self, agents):
        self.agents = {agent["unit"]: agent for agent in agents}
        self.up, self.broken, self.rubbish, self.happened = set(), set(), set(), []
        self.failed, self.interrupt, self.refuse, self.refused = set(), None, None, None

    def show(self, unit):
        if unit == self.interrupt:
            self.interrupt = None
            raise KeyboardInterrupt
        state = "ready" if unit in self.up else "failed" if unit in self.failed else "stopped"
        return systemd.Unit(state, False, 0, 1, "exit-code", None, None, 0, False, None)

    def show_all(self, units):
        return [self.show(unit) for unit in units]

    def start(self, unit):
        self.happened.append(f"start {unit}")
        for rival in self.agents[unit]["conflicts"]:
            self.up.discard(deployed.unit_name(rival))
        (self.failed if unit in self.broken else self.up).add(unit)

    def stop(self, unit, *, wait=True):
        self.happened.append(f"stop {unit}")
        self.up.discard(unit)
        self.failed.discard(unit)

    def check(self, agent, leaving):
        if self.refuse and self.refused in (None, agent["name"]):
            raise RoundhouseError("model", self.refuse)

    def names(self):
        return sorted(self.agents[unit]["name"] for unit in self.up)


@pytest.fixture
def planned():
    common = {"max_model_len": 1, "gpu_memory_utilization": 0.9, "temperature": 0, "top_p": 1}
    roster = [
        {**common, **agent, "port": 8000 + index, "models": [{"model": "/m"}]} for index, agent in enumerate(ROSTER)
    ]
    cards = tuple(HostCard(number, "a card", None, None, None) for number in range(2))
    return build.build(roster, build.Settings("cuda", "/e", "/s", 1), decide.Host(cards))


@pytest.fixture
def host(planned, monkeypatch, tmp_path):
    fake = FakeHost(planned["agents"])
    by_port = {agent["engine_port"]: agent for agent in planned["agents"]}

    class Engine:
        def __init__(self, host, port):
            self.agent = by_port[port]

        def healthy(self):
            return self.agent["unit"] in fake.up

        def canary(self, name, prompt, max_tokens, timeout_seconds):
            if self.agent["unit"] in fake.rubbish:
                raise RoundhouseError("canary", f"{name} answered rubbish.")
            return Answer("text", [1, 2])

        def listens(self):
            return self.agent["unit"] in fake.up

        def load(self, timeout_seconds):
            return Load(0, 0, 0.0) if self.agent["unit"] in fake.up else None

    for name in ("show", "show_all", "start", "stop"):
        monkeypatch.setattr(systemd, name, getattr(fake, name))
    monkeypatch.setattr(deployed, "load", lambda path=None: planned)  # the plan in place, which a test may change
    stated = "Model loading took 5.29 GiB memory and 3.1 seconds"
    monkeypatch.setattr(journal, "log_of_this_start", lambda unit: [stated, OUT_OF_MEMORY])
    monkeypatch.setattr(measured, "PATH", tmp_path / "measured.json")
    for room in (agents_canary, drain):
        monkeypatch.setattr(room, "Engine", Engine)
    for room in (transaction, resume):
        monkeypatch.setattr(room, "check", fake.check)
    monkeypatch.setattr(serving, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(serving, "FOLDER", tmp_path / "state")
    monkeypatch.setattr(resume, "is_outdated", lambda planned, agent, unit: agent["name"] in fake.outdated)
    fake.outdated = set()
    return fake


def test_what_an_engine_stated_is_kept_also_of_one_that_failed(planned, host, tmp_path):
    go(planned, "left")
    assert [start["weights_gib"] for start in measured.load()] == [5.29]
    host.broken.add("roundhouse-big.service")
    with pytest.raises(RoundhouseError):
        go(planned, "big")
    assert [len(start["gpus"]) for start in measured.load()] == [1, 2]


def test_a_full_disk_does_not_fail_a_switch(planned, host, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(measured, "PATH", tmp_path / "file" / "measured.json")
    result, said = go(planned, "left")
    assert result["agent"] == "left"
    assert any("was not recorded" in line for line in said)


def test_an_unforeseen_error_restores_the_previous_agent(planned, host, monkeypatch):
    go(planned, "left")
    learn = measured.learn

    def broken(agent, lines):
        if agent["name"] == "big":
            raise ZeroDivisionError("by chance")
        learn(agent, lines)

    monkeypatch.setattr(measured, "learn", broken)
    with pytest.raises(RoundhouseError, match=r"ZeroDivisionError\('by chance'\)") as error:
        go(planned, "big")
    assert error.value.code == history.load()[-1].code == "unexpected"
    assert host.names() == ["left"]


def test_an_active_agent_with_a_changed_canary_keeps_running(planned, host, monkeypatch):
    go(planned, "left")
    go(planned, "left")

    def another(*_):
        raise agents_canary.ChangedAnswer("left", "other text", "text")

    monkeypatch.setattr(agents_canary, "verify", another)
    result, said = go(planned, "left")
    assert (result["changed"], result["answer"]) == (False, "other text")
    assert said[0].endswith(" left stays active.")


def test_a_boot_with_a_damaged_serving_file_starts_the_rosters_first(planned, host, tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state/serving.json").write_text("{")
    said = []
    assert resume.start_only(said.append) == ["big"]
    assert "serving.json cannot be read" in said[0]


def go(planned, name):
    said = []
    return transaction.ensure_ready(planned, name, said.append), said


def test_a_switch_displaces_only_those_that_share_a_card(planned, host):
    host.up = {"roundhouse-left.service", "roundhouse-right.service"}
    result, _ = go(planned, "other")
    assert (result["changed"], result["from"], host.names()) == (True, "right", ["left", "other"])


def test_an_unknown_agent_is_wrong_usage(planned, host):
    with pytest.raises(UsageError):
        go(planned, "nosuch")
    assert host.happened == []


def test_the_previous_agents_are_restored_on_every_card(planned, host):
    host.up = {"roundhouse-left.service", "roundhouse-right.service"}
    host.broken = {"roundhouse-big.service"}
    with pytest.raises(RoundhouseError, match=r"CUDA out of memory.*left is active.*right is active") as error:
        go(planned, "big")
    assert error.value.code == history.load()[-1].code == "start_failed"
    assert error.value.fields["cause"] == history.load()[-1].cause_code == "out_of_memory"
    assert (error.value.fields["agent"], error.value.fields["evidence"]) == ("big", OUT_OF_MEMORY)
    assert host.names() == ["left", "right"]


def test_a_failed_restore_does_not_prevent_the_other_restores(planned, host):
    host.up = {"roundhouse-left.service", "roundhouse-right.service"}
    host.broken = {"roundhouse-big.service", "roundhouse-left.service"}
    with pytest.raises(RoundhouseError, match=r"left .*right is active on port 8002") as error:
        go(planned, "big")
    assert error.value.code == history.load()[-1].code == "rollback_failed"
    assert host.names() == ["right"]


def test_an_unreadable_answer_of_the_new_agent_restores_the_previous_one(planned, host):
    host.up, host.rubbish = {"roundhouse-right.service"}, {"roundhouse-other.service"}
    told = r"^other answered rubbish\. right is active on port 8002\. `roundhouse logs"
    with pytest.raises(RoundhouseError, match=told) as error:
        go(planned, "other")
    assert error.value.code == "canary"
    assert host.names() == ["right"]


def test_a_ready_agent_with_nonsense_answers_is_restarted(planned, host):
    host.up = host.rubbish = {"roundhouse-left.service"}
    with pytest.raises(RoundhouseError, match="No agent is active"):
        go(planned, "left")
    assert host.happened[:2] == ["stop roundhouse-left.service", "start roundhouse-left.service"]


def test_an_interrupted_switch_restores_the_previous_agent(planned, host):
    host.up = {"roundhouse-right.service"}
    started = host.start

    def start(unit):
        started(unit)
        host.up.discard(unit)
        if unit == "roundhouse-other.service":
            host.interrupt = unit
        else:
            host.up.add(unit)

    systemd.start = start
    with pytest.raises(RoundhouseError, match=r"^The switch to .* was interrupted. right is active") as error:
        go(planned, "other")
    assert (error.value.code, host.names()) == ("interrupted", ["right"])


def test_resume_starts_the_other_cards_if_one_fails(planned, host):
    host.broken = {"roundhouse-big.service"}
    planned["agents"] = planned["agents"][1:]
    for agent in planned["agents"]:
        agent["conflicts"] = [name for name in agent["conflicts"] if name != "big"]
    host.broken = {"roundhouse-left.service"}
    with pytest.raises(RoundhouseError, match=r"left did not start.*right is active"):
        resume.resume(lambda text: None)
    assert host.names() == ["right"]


def test_resume_restarts_an_agent_that_runs_as_it_was_deployed_before(planned, host):
    host.up, host.outdated = {"roundhouse-left.service", "roundhouse-right.service"}, {"left"}
    result = resume.resume(lambda text: None)
    assert result == {"serving": ["left", "right"], "changed": ["left"]}
    assert host.happened == ["stop roundhouse-left.service", "start roundhouse-left.service"]


def test_resume_stops_no_agent_if_the_start_would_be_refused(planned, host, monkeypatch):
    host.up, host.outdated = {"roundhouse-left.service"}, {"left"}

    host.refuse = "/m is cut."
    with pytest.raises(RoundhouseError, match="is cut"):
        resume.resume(lambda text: None)
    assert host.happened == []


def test_resume_keeps_an_agent_that_would_be_refused_and_starts_the_other_card(planned, host):
    host.up, host.outdated = {"roundhouse-left.service"}, {"left"}
    host.refuse, host.refused = "/m is cut.", "left"
    with pytest.raises(
        RoundhouseError, match=r"^/m is cut\. left is active on port 8001 and right is active on port 8002\.$"
    ):
        resume.resume(lambda text: None)
    assert host.happened == ["start roundhouse-right.service"]


def test_a_boot_starts_the_other_cards_though_one_unit_is_gone(planned, host, monkeypatch):
    started = host.start

    def start(unit):
        if unit == "roundhouse-left.service":
            raise RoundhouseError("systemd", "left is gone.")
        started(unit)

    planned["agents"] = [agent for agent in planned["agents"] if agent["name"] != "big"]
    monkeypatch.setattr(systemd, "start", start)
    with pytest.raises(RoundhouseError, match="left is gone"):
        resume.start_only(lambda text: None)
    assert host.names() == ["right"]


def test_the_rollback_survives_an_unforeseen_error(planned, host, monkeypatch):
    host.up, host.broken = {"roundhouse-right.service"}, {"roundhouse-other.service"}

    def broken(agents, *rest):
        raise ZeroDivisionError("by chance")

    monkeypatch.setattr(
        rollback.drain, "drain", lambda agents, *rest: broken(agents) if agents[0]["name"] == "other" else 0
    )
    with pytest.raises(RoundhouseError, match=r"other did not start.*right is active on port 8002\. "):
        go(planned, "other")
    assert host.names() == ["right"]


def test_a_signal_between_the_commit_and_its_end_leaves_the_active_agent_on_record(planned, host, monkeypatch):
    host.up = {"roundhouse-right.service"}
    end = switch_journal.Journal.end

    def interrupted(log):
        monkeypatch.setattr(switch_journal.Journal, "end", end)
        raise KeyboardInterrupt

    monkeypatch.setattr(switch_journal.Journal, "end", interrupted)
    with pytest.raises(RoundhouseError, match=r"right is active on port 8002\.$") as error:
        go(planned, "other")
    assert error.value.code == history.load()[-1].code == "interrupted"
    assert serving.serving() == host.names() == ["right"]
    assert switch_journal.killed() is None


def killed(to, previous, phase):
    """Write the state that a killed switch leaves."""
    log = switch_journal.Journal(to, previous)
    log.begin()
    log.phase(phase, {})


@pytest.mark.parametrize("phase", ["check", "stop", "free", "start", "canary", "rollback"])
def test_after_a_killed_switch_the_next_one_knows_the_previous_agent(planned, host, phase):
    killed("other", ["right"], phase)
    host.up, host.broken = {"roundhouse-other.service"}, {"roundhouse-big.service"}
    with pytest.raises(RoundhouseError, match=r"right is active on port 8002\. "):
        go(planned, "big")
    assert host.names() == ["right"]  # not the agent that was never committed
    assert switch_journal.killed() is None
    assert [entry.outcome for entry in history.load()] == [history.KILLED, history.ROLLED_BACK]


def test_resume_completes_a_killed_switch_whose_agent_is_ready(planned, host):
    killed("other", ["right"], "start")
    host.up = {"roundhouse-left.service", "roundhouse-other.service"}
    assert resume.resume(lambda text: None)["serving"] == ["left", "other"]
    assert (switch_journal.killed(), serving.serving()[0]) == (None, "other")
    assert history.load()[-1].outcome == history.DONE


def test_resume_rolls_back_a_killed_switch_whose_agent_is_not_ready(planned, host):
    killed("other", ["right"], "stop")
    serving.make_folder()
    assert resume.resume(lambda text: None)["serving"] == ["right", "left"]
    assert (switch_journal.killed(), host.names()) == (None, ["left", "right"])


def test_a_boot_starts_the_committed_agent_and_not_the_one_that_was_starting(planned, host):
    serving.make_folder()
    serving.record("right", ["other", "big"])
    killed("other", ["right"], "canary")
    assert resume.start_only(lambda text: None) == ["right", "left"]
    assert (switch_journal.killed(), host.names()) == (None, ["left", "right"])


def test_a_boot_after_a_kill_behind_the_commit_starts_the_committed_agent(planned, host):
    serving.make_folder()
    serving.record("other", ["right", "big"])
    killed("other", ["right"], "commit")
    assert resume.start_only(lambda text: None) == ["other", "left"]
    assert (switch_journal.killed(), history.load()[-1].outcome) == (None, history.DONE)


def test_a_killed_switch_is_rolled_back_if_the_next_is_refused(planned, host):
    killed("other", ["right"], "start")
    host.refuse = "/m is cut."
    with pytest.raises(RoundhouseError, match=r"/m is cut\. right is active"):
        go(planned, "big")
    assert (switch_journal.killed(), host.names()) == (None, ["right"])


def test_a_new_agent_with_a_changed_canary_is_rolled_back(planned, host, monkeypatch):
    go(planned, "other")
    go(planned, "right")
    engine, (port,) = (
        agents_canary.Engine,
        [each["engine_port"] for each in planned["agents"] if each["name"] == "other"],
    )
    monkeypatch.setattr(agents_canary, "Engine", lambda host, at: Another() if at == port else engine(host, at))
    with pytest.raises(RoundhouseError) as error:
        go(planned, "other")
    assert error.value.code == "canary_changed"
    assert (error.value.fields["answer"], error.value.fields["expected"]) == ("another", "text")
    assert host.names() == ["right"]


class Another:
    """An engine with other weights than the deployed ones."""

    def canary(self, name, prompt, max_tokens, timeout_seconds):
        return Answer("another", [3, 4])

    def healthy(self):
        return False


def test_the_history_keeps_the_newest(planned, host):
    for number in range(history.KEEP + 5):
        history.add(history.Entry(number, [], "left", history.DONE, {}, 0, None))
    assert [history.load()[index].began for index in (0, -1)] == [5, history.KEEP + 4]
