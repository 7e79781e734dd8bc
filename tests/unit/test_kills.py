"""A command that is killed at any point is completed or undone without a person, and the gateway agrees with the units.

Real files, locks, journals and plans; units and engines are stand-ins. A kill before each effect covers any moment.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from killed_host import Files, Killer, hook
from test_deploy import host, stage  # noqa: F401 - fixtures

from roundhouse.errors import RoundhouseError
from roundhouse.gateway import config, haproxy, on_demand
from roundhouse.plan import deployed, plan_sets
from roundhouse.state import serving, switch_journal
from roundhouse.switch import deploy, deploy_journal, recovery, resume, stop, transaction

MOST_ROUNDS = 5


@pytest.fixture
def tmp_path():
    """Return a folder in memory: each point copies the host's files."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:  # noqa: S108
        path = Path(folder, "host")
        path.mkdir()
        yield path


def quiet(text):
    """Report nothing."""


@pytest.fixture
def place(tmp_path, host, stage, monkeypatch):  # noqa: F811
    """Return a host with an active agent, architect, whose state survives a killed process."""
    monkeypatch.setattr(config, "FOLDER", str(tmp_path / "gateway"))
    monkeypatch.setattr(haproxy, "RUNTIME", str(tmp_path / "run"))
    monkeypatch.setattr(on_demand, "PATH", tmp_path / "demand.json")
    monkeypatch.setattr(serving, "BOOT_ID", tmp_path / "boot")
    (tmp_path / "boot").write_text("first")
    host.up, host.failed = Files(tmp_path.with_name("up")), Files(tmp_path.with_name("failed"))
    with serving.switching(str):
        deploy.deploy(stage(), quiet)
    host.killer = Killer(tmp_path, monkeypatch)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # the kernel keeps what a killed process has written
    return host


@pytest.fixture
def tell(capsys):
    """Return a function that shows a line even if the test passes."""

    def told(text):
        with capsys.disabled():
            sys.stdout.write(f"\n{text}")

    return told


def attempt(work):
    """Return a function that does the work, whether it fails or not."""

    def do():
        try:
            work()
        except RoundhouseError:
            return

    return do


def switch():
    transaction.ensure_ready(deployed.load(deployed.PATH), "dev", quiet, drain_seconds=0)


def stopping():
    stop.stop(deployed.load(deployed.PATH), None, quiet, drain_seconds=0)


def deployment(found):
    def work():
        with serving.switching(str):
            deploy.deploy(found, quiet, drain_seconds=0)

    return work


def recover():
    """Do what the control service does from one round to the next, and return the commands that it ran."""
    now, done = [0.0], []
    observed = recovery.Recovery(lambda: now[0])
    for _ in range(MOST_ROUNDS):
        plan = deployed.load(deployed.PATH)
        words = observed.due(plan)
        if words == recovery.RESUME:
            observed.begun()
            resume.resume(quiet)
        elif words == recovery.ROUTES:
            haproxy.publish_routes(plan, quiet)
        done += words or []
        now[0] += recovery.PATIENCE_SECONDS
    assert observed.due(deployed.load(deployed.PATH)) is None
    return done


def boot(host):  # noqa: F811
    """Start the machine again: no unit runs, and the unit of the boot starts the agents."""
    for name in [*host.up]:
        host.up.discard(name)
    serving.BOOT_ID.write_text("second")
    resume.start_only(quiet)
    for name in [*host.up]:
        hook(name)


def announced():
    """Return the agents by the word that the gateway's file has for them."""
    lines = [line.split() for line in haproxy.routes_path().read_text().splitlines()]
    return {name: route.partition(":")[0] for name, route in lines}


def verify(host, allowed):  # noqa: F811
    """Compare units, disk and gateway."""
    names = host.names()
    assert names in allowed
    assert switch_journal.killed() is None
    assert not switch_journal.path().exists()
    assert deploy_journal.killed() is None
    assert not serving.is_switching()
    known = [agent["name"] for agent in deployed.load(deployed.PATH)["agents"]]
    assert announced() == {name: "on" if name in names else "off" for name in known}
    if names:
        assert serving.serving()[:1] == names
    kept, _ = plan_sets.current()
    assert kept.is_in_place(None)
    assert plan_sets.on_host().name == kept.name


CASES = {
    "switch": (switch, set(), (["architect"], ["dev"])),
    "failed switch": (switch, {"roundhouse-dev.service"}, (["architect"],)),
    "stop": (stopping, set(), (["architect"], [])),
    "deployment": ("/opt/2", set(), (["architect"],)),
    "failed deployment": ("/opt/bad", set(), (["architect"],)),
    "changed roster": ("/opt/2 dev qa", set(), (["architect"], ["dev"])),
}


def work_of(case, stage):  # noqa: F811
    """Return what a case does; it may raise RoundhouseError."""
    work = CASES[case][0]
    if callable(work):
        return work
    engine, *names = work.split()
    return deployment(stage(engine, tuple(names)) if names else stage(engine))


@pytest.mark.parametrize("case", CASES)
def test_a_command_killed_before_each_effect_is_completed_or_undone(case, place, stage, tmp_path, tell):  # noqa: F811
    _, broken, allowed = CASES[case]
    place.broken |= broken
    place.bad_engines.add("/opt/bad")
    before = plan_sets.on_host().name
    work = attempt(work_of(case, stage))
    unharmed = Snapshot(tmp_path, "before", place)
    ran, points, ended = {"resume": 0, "routes": 0}, 0, False
    while not ended:
        points += 1
        ended = place.killer.run(work, points)
        killed = Snapshot(tmp_path, "killed", place)
        for word in recover():
            ran[word] += 1
        verify(place, allowed)
        killed.restore()
        boot(place)
        verify(place, [names for names in allowed if names])
        if not ended:
            unharmed.restore()
    tell(f"{case}: killed at {points - 1} points, each recovered by the control service ({ran}) and by a boot")
    assert sum(ran.values()) > 0
    assert (plan_sets.on_host().name != before) == (case in ("deployment", "changed roster"))


class Snapshot:
    """The files and units of a host at one moment."""

    def __init__(self, root, name, host):  # noqa: F811
        self._root, self._aside, self._host = root, root.with_name(f"{root.name}-{name}"), host
        shutil.rmtree(self._aside, ignore_errors=True)
        shutil.copytree(root, self._aside)
        self._up, self._failed = [*host.up], [*host.failed]

    def restore(self):
        """Put the files and units back."""
        shutil.rmtree(self._root)
        shutil.copytree(self._aside, self._root)
        for names, there in ((self._host.up, self._up), (self._host.failed, self._failed)):
            for name in {*names} - {*there}:
                names.discard(name)
            for name in there:
                names.add(name)
