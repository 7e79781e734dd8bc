"""The record of active agents survives the process; the lock does not."""

import os
import signal
import subprocess
import sys

import pytest

from roundhouse.errors import RoundhouseError
from roundhouse.state import serving, switch_journal
from roundhouse.state.note import Note


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Return the file of the active agents, in a temporary folder."""
    monkeypatch.setattr(serving, "FOLDER", tmp_path)
    return tmp_path / "serving.json"


def test_without_a_record_no_agent_was_active(path):
    assert serving.serving() == []


def test_the_last_of_each_card_is_kept(path):
    serving.record("architect", ["dev"])
    serving.record("other-card", [])
    serving.record("dev", ["architect"])
    assert serving.serving() == ["dev", "other-card"]


def test_a_damaged_state_is_reported_with_the_remedy(path):
    path.write_text("{")
    with pytest.raises(RoundhouseError) as error:
        serving.serving()
    assert (error.value.code, error.value.fields["path"]) == ("serving_unreadable", str(path))


@pytest.fixture
def lock(tmp_path, monkeypatch):
    monkeypatch.setattr(serving, "LOCK", tmp_path / "switch.lock")
    monkeypatch.setattr(serving, "FOLDER", tmp_path)
    return tmp_path / "switch.lock"


def holding(lock):
    """Return a process that holds the lock until it is killed."""
    code = f"""
import pathlib, time
from roundhouse.state import serving
serving.LOCK = pathlib.Path({str(lock)!r})
with serving.switching(str):
    print("held", flush=True)
    time.sleep(60)
"""
    environment = os.environ | {"PYTHONPATH": "src"}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_switch_reports_the_first(lock):
    mine = switch_journal.Journal("dev", ["architect"])
    mine.begin()
    mine.phase("start", {})
    mine.note(Note("loading weights 42 %, about 12 s left", "loading weights", 42))
    told = rf"to dev, pid {os.getpid()}, since \d+ s, now start: loading weights 42 %, about 12 s left"
    with (
        serving.switching(switch_journal.describe),
        pytest.raises(RoundhouseError, match=told),
        serving.switching(switch_journal.describe),
    ):
        pass
    with serving.switching(switch_journal.describe):
        assert serving.is_switching()
    assert not serving.is_switching()


def test_a_killed_switch_keeps_no_lock(lock):
    with holding(lock) as holder:
        with pytest.raises(RoundhouseError), serving.switching(switch_journal.describe):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with serving.switching(switch_journal.describe):
            pass


def test_a_waiting_switch_starts_when_the_first_has_ended(lock):
    with holding(lock) as holder:
        waited = []

        def wait(sentence):
            waited.append(sentence)
            holder.terminate()

        with serving.switching(switch_journal.describe, wait=wait):
            assert "another switch is running" in waited[0]


def test_files_of_a_killed_writer_are_removed(lock):
    (lock.parent / ".serving.json.999999999").write_text("{")
    switch_journal.Journal("dev", []).begin()
    assert [file.name for file in lock.parent.iterdir()] == ["switch.json"]


def test_the_files_of_a_killed_switch_are_read(lock):
    mine = switch_journal.Journal("dev", ["architect"])
    mine.begin()
    mine.phase("start", {"stop": 1.0})
    assert switch_journal.killed()[:3] == ("dev", ["architect"], "start")
    mine.end()
    assert switch_journal.killed() is None


def test_a_prepared_note_includes_the_notes_that_came_meanwhile(path):
    serving.record("architect", ["dev"])
    with serving.prepared([("dev", ["architect"])]) as commit:
        serving.record("other-card", [])
        commit()
    assert serving.serving() == ["dev", "other-card"]
    assert sorted(each.name for each in path.parent.iterdir()) == [path.name, "serving.lock"]


def test_an_agent_that_returned_to_the_roster_does_not_precede_the_newest(path):
    serving.record("po", ["architect", "dev"])
    serving.record("architect", ["dev"])  # po is no longer in the roster, so no agent excludes it
    assert serving.serving()[0] == "architect"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take a folder over")
def test_the_folder_is_taken_over_from_the_engines_account_without_its_traps(path, tmp_path):
    victim = tmp_path.parent / "victim"
    victim.write_text("root's")
    for name in ("serving.json", "history.jsonl"):
        (tmp_path / name).write_text("{}")
        os.chown(tmp_path / name, 65534, 65534)
        (tmp_path / name).chmod(0o666)
    (tmp_path / "measured.json").symlink_to(victim)
    os.mkfifo(tmp_path / "switch.json")
    os.link(victim, tmp_path / "starts.json")
    (tmp_path / "folder").mkdir()
    os.chown(tmp_path, 65534, 65534)
    serving.own_folder()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["history.jsonl", "serving.json"]
    assert victim.read_text() == "root's"
    for each in (tmp_path, *tmp_path.iterdir()):
        assert each.stat().st_uid == 0
        assert not each.stat().st_mode & 0o022
