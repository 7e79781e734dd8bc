"""A command that was killed or interrupted leaves nothing that a person has to correct."""

import contextlib
import itertools
from functools import partial

import pytest
from test_deploy import host as deployed_host  # noqa: F401 - fixture
from test_deploy import put, stage  # noqa: F401 - fixture
from test_switch import go, host, killed, planned  # noqa: F401 - fixtures

from roundhouse.cli import unit_hooks
from roundhouse.errors import RoundhouseError
from roundhouse.gateway import announced, haproxy, on_demand
from roundhouse.host import systemd
from roundhouse.plan import deployed
from roundhouse.state import history, serving, switch_journal
from roundhouse.switch import recovery, resume, stop, transaction

LEFT, RIGHT, OTHER = (f"roundhouse-{name}.service" for name in ("left", "right", "other"))


@pytest.fixture
def gated(planned, host, monkeypatch, tmp_path):  # noqa: F811
    """Return the plan of a host with a gateway."""
    planned["gateway_port"] = 8080
    monkeypatch.setattr(haproxy, "RUNTIME", str(tmp_path / "run"))
    monkeypatch.setattr(on_demand, "PATH", tmp_path / "demand.json")
    serving.make_folder()
    return planned


def words(plan):
    return {name: route.partition(":")[0] for name, route in announced.routes(plan).items()}


def told(plan):
    """Return what the gateway's file has."""
    lines = [line.split() for line in haproxy.routes_path().read_text().splitlines()]
    return {name: route.partition(":")[0] for name, route in lines}


def quiet(text):
    """Report nothing."""


def quiet_step():
    """Change nothing in a round."""


def test_an_agent_that_is_ready_already_gets_requests_again_after_a_stop_that_was_killed(gated, host):  # noqa: F811
    host.up = {LEFT}
    serving.record("left", ["big"])
    serving.note_stopped(["left"])
    with serving.switching(str):  # the stop, before its kill
        haproxy.publish_routes(gated, quiet)
        assert told(gated)["left"] == "off"
    go(gated, "left")
    assert (told(gated)["left"], serving.stopped()) == ("on", [])


def test_a_stop_that_was_killed_before_its_agent_closes_no_agent(gated, host):  # noqa: F811
    host.up = {LEFT}
    serving.record("left", ["big"])
    serving.note_stopped(["left"])
    assert words(gated)["left"] == "on"


@pytest.mark.parametrize("state", ["starting", "stopped"])
def test_a_crash_after_a_stop_that_was_killed_closes_no_agent(gated, host, monkeypatch, state):  # noqa: F811
    serving.record("left", ["big"])
    serving.note_stopped(["left"])
    restarting = systemd.Unit(state, state == "stopped", 1, 1, "exit-code", None, None, 0, False, None)
    shown = {LEFT: restarting}
    monkeypatch.setattr(systemd, "show_all", lambda units: [shown.get(unit) or host.show(unit) for unit in units])
    assert words(gated)["left"] == "on"
    with serving.switching(str):  # a stop of an agent that starts
        assert words(gated)["left"] == "off"


def test_a_stop_that_systemd_refuses_keeps_the_gateway_open(gated, host, monkeypatch):  # noqa: F811
    host.up = {LEFT}
    serving.record("left", ["big"])

    def refuse(*words, **options):
        raise RoundhouseError("systemctl_failed", "It failed.")

    monkeypatch.setattr(systemd, "stop", refuse)
    with pytest.raises(RoundhouseError, match="It failed"):
        stop.stop(gated, None, quiet)
    assert (told(gated)["left"], serving.stopped()) == ("on", ["big", "other", "right"])


def test_a_stop_does_not_take_a_failure_of_systemctl_for_a_stopped_agent(gated, host, monkeypatch):  # noqa: F811
    def refuse(unit):
        raise RoundhouseError("systemctl_failed", "It failed.")

    monkeypatch.setattr(systemd, "show", refuse)
    with pytest.raises(RoundhouseError, match="It failed"):
        stop.stop(gated, None, quiet)


@pytest.mark.parametrize("number", [1, 2])
def test_an_agent_that_left_the_roster_and_came_back_is_not_announced_as_active(deployed_host, stage, number):  # noqa: F811
    put(stage())
    put(stage("/opt/1", ("dev",)))
    for _ in range(number):
        put(stage())
    plan = deployed.load(deployed.PATH)
    assert deployed_host.names() == ["dev"]
    assert (serving.serving(), told(plan)) == (["dev"], {"architect": "off", "dev": "on"})


def test_of_two_rivals_on_record_only_the_one_that_is_up_gets_requests(gated, host):  # noqa: F811
    (serving.FOLDER / "serving.json").write_text('{"schema": 1, "serving": ["right", "other"]}')
    host.up = {OTHER}
    assert (words(gated)["other"], words(gated)["right"]) == ("on", "off")
    host.up = set()  # a boot: the newest
    assert (words(gated)["other"], words(gated)["right"]) == ("off", "on")


def test_an_agent_that_systemd_gave_up_gets_no_requests(gated, host):  # noqa: F811
    serving.record("left", ["big"])
    host.failed = {LEFT}
    assert words(gated)["left"] == "off"


def test_a_killed_switch_keeps_the_previous_agent_open_while_it_is_ready(gated, host):  # noqa: F811
    serving.record("right", ["other", "big"])
    killed("other", ["right"], "check")
    host.up = {RIGHT}
    assert (words(gated)["right"], words(gated)["other"]) == ("on", "wait")
    with serving.switching(str):
        assert (words(gated)["right"], words(gated)["other"]) == ("wait", "wait")


@pytest.mark.parametrize("call", [1, 2])
def test_a_signal_while_routes_are_published_causes_a_rollback(gated, host, monkeypatch, call):  # noqa: F811
    host.up = {RIGHT}
    interrupt_at(monkeypatch, call)
    if call == 1:
        with pytest.raises(RoundhouseError, match="was interrupted") as error:
            go(gated, "other")
        assert error.value.code == "interrupted"
        assert host.names() == ["right"]
    else:  # after the commit
        with pytest.raises(KeyboardInterrupt):
            go(gated, "other")
        assert host.names() == ["other"]
    assert switch_journal.killed() is None


def test_a_signal_while_a_deployment_publishes_routes_restores_the_plan(deployed_host, stage, monkeypatch):  # noqa: F811
    put(stage())
    interrupt_at(monkeypatch, 1)
    with pytest.raises(RoundhouseError) as error:
        put(stage("/opt/2"))
    assert error.value.code == "interrupted"
    assert (switch_journal.killed(), deployed_host.names()) == (None, ["architect"])


def interrupt_at(monkeypatch, number):
    """Let that call of publish_routes be interrupted."""
    publish, calls = haproxy.publish_routes, itertools.count(1)

    def interrupted(*given, **named):
        if next(calls) == number:
            raise KeyboardInterrupt
        publish(*given, **named)

    monkeypatch.setattr(haproxy, "publish_routes", interrupted)


def test_a_switch_uses_the_plan_that_a_deployment_put_in_place_while_it_waited(planned, host, monkeypatch):  # noqa: F811
    stale = {**planned, "agents": [{**agent, "engine_port": 1} for agent in planned["agents"]]}
    result, _ = go(stale, "left")
    assert result["agent"] == "left"
    with pytest.raises(RoundhouseError) as error:
        monkeypatch.setattr(deployed, "load", lambda path=None: {**planned, "agents": planned["agents"][:1]})
        go(planned, "left")
    assert error.value.code == "unknown_agent"


def test_a_stop_uses_the_plan_that_a_deployment_put_in_place_while_it_waited(planned, host):  # noqa: F811
    host.up = {LEFT}
    assert stop.stop({**planned, "agents": planned["agents"][:1]}, None, quiet)["stopped"] == ["left"]


@pytest.mark.parametrize("content", ["", "{"])
def test_a_journal_that_a_power_loss_left_empty_is_removed(gated, host, content):  # noqa: F811
    for recover in (resume.start_only, resume.resume):
        switch_journal.path().write_text(content)
        recover(quiet)
        assert not switch_journal.path().exists()


def test_a_recovery_whose_agents_fail_their_checks_leaves_no_journal(gated, host):  # noqa: F811
    killed("other", ["right"], "start")
    host.refuse = "/m is cut."
    with pytest.raises(RoundhouseError, match="is cut"):
        resume.resume(quiet)
    assert switch_journal.killed() is None
    assert set(told(gated).values()) == {"off"}
    assert history.load()[-1].outcome == history.KILLED


def test_requests_wait_while_resume_restarts_an_outdated_agent(gated, host, monkeypatch):  # noqa: F811
    host.up, host.outdated = {LEFT, RIGHT}, {"left"}
    serving.record("left", ["big"])
    seen = []
    monkeypatch.setattr(systemd, "stop", lambda unit, **_: (seen.append(told(gated)["left"]), host.stop(unit)))
    resume.resume(quiet)
    assert seen == ["wait"]
    assert told(gated)["left"] == "on"


def test_a_boot_does_not_wait_for_a_switch_that_runs(gated, host):  # noqa: F811
    log = switch_journal.Journal("other", ["right"])
    log.begin()
    with serving.switching(str):
        assert "right" in resume.start_only(quiet)
        assert switch_journal.killed()


def test_a_recovery_is_due_once_the_journal_is_old_enough_and_is_repeated_with_patience(gated, host):  # noqa: F811
    haproxy.publish_routes(gated, quiet)
    now = [0.0]
    observed = recovery.Recovery(lambda: now[0])
    assert observed.due(gated) is None
    killed("other", ["right"], "start")
    assert observed.due(gated) is None
    now[0] += recovery.PATIENCE_SECONDS
    with serving.switching(str):
        assert observed.due(gated) != recovery.RESUME
    assert observed.due(gated) in (None, recovery.ROUTES)  # a switch held the lock meanwhile
    now[0] += recovery.PATIENCE_SECONDS
    assert observed.due(gated) == recovery.RESUME
    observed.begun()
    now[0] += recovery.PATIENCE_SECONDS
    assert observed.due(gated) is None
    now[0] += recovery.AGAIN_SECONDS
    assert observed.due(gated) == recovery.RESUME


def rounds(*steps):
    """Return the two functions that run() waits with; each round of it does the next step."""
    now, left = [0.0], [*steps]

    def wait(seconds):
        now[0] += seconds
        if left:
            left.pop(0)()

    return wait, lambda: now[0]


def test_a_killed_switch_is_undone_without_a_ready_agent_and_without_the_control_service(gated, host):  # noqa: F811
    serving.record("right", ["other", "big"])
    killed("other", ["right"], "stop")
    said = []
    recovery.run(said.append, *rounds())
    assert (host.names(), told(gated)["right"], switch_journal.is_written()) == (["left", "right"], "on", False)
    assert said[0] == "a command was killed before it was complete: recovering"


def test_the_recovery_waits_for_the_end_of_a_switch_and_does_nothing_after_it(gated, host):  # noqa: F811
    log, holder = switch_journal.Journal("other", ["right"]), contextlib.ExitStack()
    holder.enter_context(serving.switching(str))
    log.begin()

    def end():
        log.end()
        holder.close()

    recovery.run(quiet, *rounds(*[quiet_step] * 30, end))
    assert host.happened == []


def test_a_recovery_that_fails_is_reported_and_repeated(gated, host, monkeypatch):  # noqa: F811
    killed("other", ["right"], "stop")
    load, said = deployed.load, []

    def fail(path=None):
        raise RoundhouseError("plan_unreadable", "The plan cannot be read.")

    monkeypatch.setattr(deployed, "load", fail)
    repair = partial(monkeypatch.setattr, deployed, "load", load)
    recovery.run(said.append, *rounds(*[quiet_step] * 10, repair))
    assert "right" in host.names()
    assert said[1] == "The plan cannot be read. [plan_unreadable]"
    assert said.count(said[0]) == 2


def test_the_recovery_of_a_watchdog_runs_in_a_unit_of_its_own(gated, host, monkeypatch):  # noqa: F811
    ran = []
    monkeypatch.setattr(systemd, "run_apart", lambda unit, command: ran.append((unit, command[1:])))
    recover = unit_hooks._recoverer(quiet)
    recover()  # the gateway's file is missing
    assert ran.pop() == ("roundhouse-recovery.service", ["routes"])
    haproxy.publish_routes(gated, quiet)
    killed("other", ["right"], "start")
    monkeypatch.setattr(recovery, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(recovery, "AGAIN_SECONDS", 0.0)
    recover()
    assert ran == []  # the first recovery began just now
    unit_hooks._recoverer(quiet)()
    assert ran == [("roundhouse-recovery.service", ["resume"])]


def test_a_transaction_of_a_ready_agent_survives_a_full_disk(gated, host, monkeypatch):  # noqa: F811
    host.up = {LEFT}

    def full(*_, **__):
        raise RoundhouseError("state_disk_full", "Cannot write: its disk is full.")

    monkeypatch.setattr(serving, "record", full)
    result, said = go(gated, "left")
    assert result["changed"] is False
    assert any("the state on disk was not updated" in line for line in said)
    assert transaction.active_agents(gated) == "left is active on port 8001."
