"""A file that is reported as written survives a power loss: its content and its name are synced to the disk."""

import os
from pathlib import Path

import pytest
from test_deploy import host as deployed_host  # noqa: F401 - fixture
from test_deploy import put, stage  # noqa: F401 - fixture
from test_switch import go, host, planned  # noqa: F401 - fixtures

from roundhouse.plan import deployed, plan_sets
from roundhouse.state import history, serving, switch_journal
from roundhouse.util import files


@pytest.fixture
def power(monkeypatch):
    """Return the record of what a power loss leaves: renames and removals whose folder was synced after them."""
    return Power(monkeypatch)


class Power:
    """Follow each file's content and name until both are on the disk."""

    def __init__(self, monkeypatch):
        self.contents, self.unsynced = set(), {}
        real = {name: getattr(os, name) for name in ("fsync", "rename", "unlink")}

        def fsync(descriptor):
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            self.contents.add(str(path))
            for changed in [each for each in self.unsynced if Path(each).parent == path]:
                del self.unsynced[changed]
            real["fsync"](descriptor)

        def rename(source, target, **options):
            real["rename"](source, target, **options)
            self.unsynced[str(target)] = str(source) in self.contents or Path(target).is_dir()

        def unlink(path, **options):
            real["unlink"](path, **options)
            self.unsynced[str(path)] = True

        for name, work in (("fsync", fsync), ("rename", rename), ("unlink", unlink)):
            monkeypatch.setattr(os, name, work)

    def lost(self):
        """Return the names whose last change is not on the disk."""
        return {Path(path).name for path in self.unsynced}


def test_a_written_file_is_synced_with_its_folder(power, tmp_path):
    files.write(tmp_path / "new" / "plan.json", "{}")
    files.link(tmp_path / "link", "new")
    assert power.lost() == set()
    assert str(tmp_path / "new") in power.contents
    files.remove(tmp_path / "new" / "plan.json")
    files.remove(tmp_path / "new" / "plan.json")  # it is gone already
    assert power.lost() == set()
    files.write(tmp_path / "progress", "", durable=False)
    assert power.lost() == {"progress"}


def test_a_switch_leaves_its_state_on_the_disk(power, planned, host):  # noqa: F811
    go(planned, "left")
    kept = {
        "serving.json",
        "history.jsonl",
        "switches.prom",
        "starts.json",
        "canaries.json",
        switch_journal.path().name,
    }
    assert power.lost() & kept == set()
    assert str(serving.FOLDER) in power.contents


def test_the_phase_of_a_switch_is_on_the_disk_before_its_work_begins(power, tmp_path, monkeypatch):
    monkeypatch.setattr(serving, "FOLDER", tmp_path)
    log = switch_journal.Journal("dev", [])
    log.begin()
    log.phase("start", {})
    assert power.lost() == set()


def test_a_deployment_leaves_plan_units_and_sets_on_the_disk(power, deployed_host, stage):  # noqa: F811
    put(stage())
    put(stage("/opt/2"))
    assert {name for name in power.lost() if not name.startswith(("stopped-", "gateway.map", "."))} == set()
    for folder in (
        deployed.PATH.parent,
        plan_sets.FOLDER,
        deployed.PATH.parent / "units",
        deployed.PATH.parent / "etc",
    ):
        assert str(folder) in power.contents, folder


@pytest.mark.parametrize("step", [-3600.0, 3600.0], ids=["back", "forward"])
def test_a_clock_that_is_set_during_a_switch_changes_nothing(planned, host, monkeypatch, step):  # noqa: F811
    go(planned, "right")
    now = [1_800_000_000.0]
    for module in (switch_journal, history):
        monkeypatch.setattr(module, "time", Clock(now), raising=False)
    log = switch_journal.Journal("other", ["right"])
    log.begin()
    now[0] += step
    assert f"since {max(0, step):.0f} s" in switch_journal.describe()
    with serving.switching(switch_journal.describe):
        assert f"since {max(0, step):.0f} s" in switch_journal.running().text()
    log.end()
    result, _ = go(planned, "other")
    assert (result["changed"], serving.serving()[0]) == (True, "other")
    assert all(seconds >= 0 for seconds in history.load()[-1].stages.values())
    history.add(history.Entry(now[0], ["left"], "left", history.CRASHED, {}, 0, None))
    history.note_restart("left", now[0] + step)
    assert history.load()[-1].stages[history.RESTART] == max(0.0, step)


class Clock:
    """A module `time` whose clock of the day is set."""

    def __init__(self, now):
        self._now = now

    def time(self):
        return self._now[0]

    def monotonic(self):
        return 0.0
