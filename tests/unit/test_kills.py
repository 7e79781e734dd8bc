"""A command that is killed at any point is completed or undone without a person, and the gateway agrees with the units.

Real files, locks, journals and plans; units and engines are stand-ins. A kill before each effect covers any moment.
After each of these kills, the recovery, the boot and the repeated command are killed too, at another effect each time.
"""

import os
import sys
import tempfile
from itertools import takewhile
from pathlib import Path

import pytest
from kill_cases import CASES, Place, quiet, without_journal
from killed_host import Files, Killer, Snapshot, hook
from test_deploy import host, stage  # noqa: F401 - fixtures

from roundhouse.gateway import config, haproxy, on_demand
from roundhouse.plan import deployed, plan_sets
from roundhouse.state import serving, switch_journal
from roundhouse.switch import deploy_journal, recovery, resume

MOST_ROUNDS = 5
# The first kill, and of each first kill at least one of the boot and one of the repeated command.
KILLS_PER_EFFECT = 3


@pytest.fixture
def tmp_path():
    """Return a folder in memory: each point restores the host's files."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:  # noqa: S108
        path = Path(folder, "host")
        path.mkdir()
        yield path


@pytest.fixture
def place(tmp_path, host, stage, monkeypatch):  # noqa: F811
    """Return a host with an active agent, architect, whose state survives a killed process."""
    monkeypatch.setattr(config, "FOLDER", str(tmp_path / "gateway"))
    monkeypatch.setattr(haproxy, "RUNTIME", str(tmp_path / "run"))
    monkeypatch.setattr(on_demand, "PATH", tmp_path / "demand.json")
    monkeypatch.setattr(serving, "BOOT_ID", tmp_path / "boot")
    without_journal(monkeypatch)
    (tmp_path / "boot").write_text("first")
    host.up, host.failed = Files(tmp_path.with_name("up")), Files(tmp_path.with_name("failed"))
    host.place = Place(host, stage)
    host.place.deploy(stage())
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


def power_off(host):  # noqa: F811
    """End each unit without a hook, as a power loss does."""
    for names in (host.up, host.failed):
        for name in [*names]:
            names.discard(name)
    serving.BOOT_ID.write_text("second")


def boot():
    """Start the agents, as the unit of the boot does."""
    resume.start_only(quiet)


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
    # An agent that was stopped stays on record, so that a boot starts it again.
    recorded = [name for name in serving.serving() if name in names or name not in serving.stopped()]
    assert sorted(recorded[: len(names)]) == names
    kept, _ = plan_sets.current()
    assert kept.is_in_place(None)
    assert plan_sets.on_host().name == kept.name


class Kills:
    """Kill the command of one case at each effect, and each recovery of it at one effect."""

    def __init__(self, case, place, tmp_path):
        self._case, self._host, self._killer, self._root = case, place, place.killer, tmp_path.parent
        self.first, self.second, self.ran = 0, 0, {"resume": 0, "routes": 0}
        other = Kills(CASES[case.begins_as], place, tmp_path).effects if case.begins_as else []
        place.bad_engines.add("/opt/bad")
        bare = Snapshot(self._root)
        case.prepare(place.place)
        place.broken |= set(case.broken)
        self.plan, self._unharmed = plan_sets.on_host().name, Snapshot(self._root)
        self.effects = self._killer.effects(self._command)
        self.skipped = len([*takewhile(lambda pair: pair[0] == pair[1], zip(other, self.effects, strict=False))])
        bare.restore()

    def run(self):
        self._unharmed.restore()
        while not self._killer.run(self._command, self.skipped + self.first + 1):
            self.first += 1
            killed = Snapshot(self._root)
            self._by_service(killed)
            killed.restore()
            self._by_boot(killed)
            killed.restore()
            self._by_command(killed)
            self._unharmed.restore()
        for word in self._recover():
            self.ran[word] += 1
        verify(self._host, self._case.allowed)

    def _command(self):
        self._case.attempt(self._host.place)

    def _recover(self):
        if self._case.in_unit:  # systemd runs it again
            self._command()
        return recover()

    def _by_service(self, killed):
        ran = []
        effects = self._killer.effects(lambda: ran.extend(self._recover()))
        verify(self._host, self._case.allowed)
        for word in ran:
            self.ran[word] += 1
        if effects:
            killed.restore()
            self._kill(self._recover, effects)
            self._recover()
            verify(self._host, self._case.allowed)

    def _by_boot(self, killed):
        power_off(self._host)
        off = Snapshot(self._root)
        effects = self._killer.effects(boot)
        self._verify_booted()
        off.restore()
        self._kill(boot, effects)
        boot()  # its unit restarts
        self._verify_booted()

    def _verify_booted(self):
        for name in [*self._host.up]:
            hook(name)
        if [*self._host.failed]:
            self._command()  # the unit's OnFailure=
        verify(self._host, [names for names in self._case.allowed if names])

    def _by_command(self, killed):
        effects = self._killer.effects(self._command)
        killed.restore()
        self._kill(self._command, effects)
        self._recover()
        verify(self._host, self._case.allowed)

    def _kill(self, work, effects):
        """Kill the work at one of its effects, which is another one after each first kill."""
        assert not self._killer.run(work, 1 + self.first % len(effects))
        self.second += 1


@pytest.mark.parametrize("name", CASES)
def test_a_command_killed_before_each_effect_is_completed_or_undone(name, place, tmp_path, tell):
    case = CASES[name]
    kills = Kills(case, place, tmp_path)
    kills.run()
    tell(f"{name}: {kills.first} kills, then {kills.second} of a recovery; the control service ran {kills.ran}")
    assert kills.first + kills.second >= KILLS_PER_EFFECT * kills.first > 0
    assert (plan_sets.on_host().name != kills.plan) == case.changes_plan


def test_the_kills_of_all_cases_are_at_least_1200(place, tmp_path, tell):
    """Count without a kill: each effect of a command is one, and each case asserts KILLS_PER_EFFECT."""
    first = 0
    for case in CASES.values():
        kills = Kills(case, place, tmp_path)
        first += len(kills.effects) - kills.skipped
        place.broken.clear()
    tell(f"{first} effects of {len(CASES)} commands, at least {KILLS_PER_EFFECT * first} kills")
    assert KILLS_PER_EFFECT * first >= 1200
