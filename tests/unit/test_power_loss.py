"""After a power loss at any point a file has its old content or its new one, and what was reported as done is there."""

import json

import pytest
from power_loss import Disk, PowerLost
from pulling import is_whole, pull_models

from roundhouse.state import serving, switch_journal
from roundhouse.util import files, json_file

pytest_plugins = ("pulling",)  # the fixtures hub and place


def all_points(root, prepare, act, check):
    """Repeat `act` with a power loss at each point, and call `check(done)` on what is left; return the points."""
    point = 0
    while True:
        point += 1
        prepare()
        disk, patch, done = Disk(root), pytest.MonkeyPatch(), False
        try:
            with disk.failing_at(point, patch):
                act()
                done = True
        except PowerLost:
            pass
        disk.lose_power()
        check(done)
        if done:
            return point


def test_the_stand_in_drops_what_is_not_synced(tmp_path):
    disk = Disk(tmp_path)
    (tmp_path / "file").write_text("not synced")
    disk.lose_power()
    assert list(tmp_path.iterdir()) == []


def test_a_written_file_is_old_or_new(tmp_path):
    path = tmp_path / "file"

    def check(done):
        assert path.read_text() in (["new"] if done else ["old", "new"])

    assert all_points(tmp_path, lambda: path.write_text("old"), lambda: files.write(path, "new"), check) > 2


def test_a_new_file_in_a_new_folder_is_complete_or_missing(tmp_path):
    path = tmp_path / "a" / "b" / "file.json"

    def check(done):
        assert path.exists() or not done
        assert not path.exists() or json.loads(path.read_text()) == {"x": 1}

    assert all_points(tmp_path, lambda: None, lambda: json_file.write(path, {"x": 1}), check) > 3


@pytest.fixture
def state(tmp_path, monkeypatch):
    """Return the state folder."""
    monkeypatch.setattr(serving, "FOLDER", tmp_path / "state")
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


def test_the_active_agent_is_the_previous_or_the_new_one(state):
    def check(done):
        assert serving.serving() in ([["dev"]] if done else [["architect"], ["dev"]])

    all_points(state, lambda: serving.record("architect", ["dev"]), lambda: serving.record("dev", ["architect"]), check)


def test_a_switch_is_on_the_disk_before_it_stops_an_agent(state):
    def check(done):
        found = switch_journal.killed()
        assert (found is not None) >= done
        assert found is None or (found.to, found.previous) == ("dev", ["architect"])

    all_points(state, lambda: None, lambda: switch_journal.Journal("dev", ["architect"]).begin(), check)


def test_an_ended_switch_does_not_come_back(state):
    def prepare():
        journal.begin()

    def check(done):
        assert (switch_journal.killed() is None) >= done

    journal = switch_journal.Journal("dev", ["architect"])
    all_points(state, prepare, journal.end, check)


def test_a_complete_model_is_complete_after_a_power_loss(hub, place, monkeypatch):
    place.mkdir()
    disk = Disk(place)
    with disk.failing_at(0, monkeypatch):
        pull_models(hub, place)
    disk.lose_power()
    assert [row["changed"] for row in pull_models(hub, place)] == [False]  # no file was missing
    assert is_whole(hub, place)
