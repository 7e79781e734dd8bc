"""A lost background job is detected by its process, with checks in a real shell."""

import json
import subprocess
import sys

import pytest
from clock import until

from roundhouse.paths import IMPORT_ROOT
from roundhouse.util import background_job
from roundhouse.util.background_job import MISSED, Watch

# A job like those of the modules: it writes its progress into a file until it is stopped.
JOB = """
import sys; from pathlib import Path; from roundhouse.util import progress
with progress.in_file(Path(sys.argv[1])) as shown:
    shown.note("one word")
    sys.stdin.read(1)
"""


@pytest.fixture
def job(tmp_path):
    """Run a job and watch it; return both after its first event."""
    path = tmp_path / "job.jsonl"
    command = [sys.executable, "-c", JOB, str(path)]
    running = subprocess.Popen(command, stdin=subprocess.PIPE, env={"PYTHONPATH": str(IMPORT_ROOT)})
    watch = Watch(str(path))
    # The file may grow between reading its first and its last line.
    until(lambda: look(watch) == "one word" and watch.pid is not None)
    yield running, watch, path
    running.kill()
    running.wait()


def look(watch):
    done = subprocess.run(["sh", "-c", watch.command()], capture_output=True, text=True, check=True)
    last = watch.update(done.stdout)
    return last and last["text"]


def test_a_silent_job_that_runs_is_not_lost(job):
    running, watch, _ = job
    assert [look(watch) for _ in range(2 * MISSED)] == ["one word"] * 2 * MISSED
    assert (watch.pid, watch.lost()) == (running.pid, None)


def test_a_killed_job_is_lost_although_its_file_does_not_show_it(job):
    running, watch, path = job
    running.kill()
    running.wait()
    looks = [(look(watch), watch.lost() is None) for _ in range(MISSED)]
    assert looks == [("one word", True)] * (MISSED - 1) + [("one word", False)]
    assert "ended without a result" in watch.lost()
    path.unlink()  # /run is empty after a restart
    look(watch)
    assert "ended without a result" in watch.lost()


def test_a_reboot_is_detected_although_the_process_number_is_reused(job):
    _, watch, _ = job
    output = subprocess.run(["sh", "-c", watch.command()], capture_output=True, text=True, check=True).stdout
    machine = watch.boot.split()[0]
    watch.update(output.replace(machine, "5b1e7c5e-0000-4000-8000-000000000000"))
    assert "restarted" in watch.lost()


def test_the_restart_of_a_container_is_a_boot_too(job):
    _, watch, _ = job
    look(watch)
    machine, started = watch.boot.split()
    watch.update(f"boot {machine} {int(started) + 700}\nprocess running\n")
    assert "restarted" in watch.lost()


def test_a_silent_job_is_lost_and_an_unreachable_host_is_not(tmp_path, clock):
    now = clock(background_job)
    watch = Watch(str(tmp_path / "none"), begin_seconds=30)
    assert (look(watch), watch.lost()) == (None, None)
    assert (watch.update(""), watch.answered) == (None, False)
    assert (watch.update("boot one\nproc"), watch.answered) == (None, False)  # cut off
    now.sleep(31)
    assert watch.lost() == "it did not start within 30 s"


def test_progress_begins_with_process_and_boot():
    told = json.loads(background_job.began())
    assert told["boot"] == background_job.BOOT_ID.read_text().strip()
    assert told["pid"] > 0
