"""Pulls on one host: a slow pull onto another disk, a pull that a restart interrupts, a pull without disk space."""

import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from conftest import ALONE, folder, sums, wanted
from faulty_hub import MIB, TOKEN, Fault

DISK = "/mnt/disk"
OF_THE_PROXY = "a-password-of-a-proxy"
SHARES = 4


def is_share(line):
    """Return whether a line of the play reports the pull's progress."""
    return line.startswith(f"{ALONE[0]}: ") and " MiB (" in line


@pytest.fixture(scope="module")
def disk(alone):
    """Mount a separate disk; return the store on it."""
    alone.check_output(f"mkdir -p {DISK} && mount -t tmpfs -o size=64m tmpfs {DISK}")
    yield DISK
    alone.check_output(f"! mountpoint -q {DISK} || umount {DISK}")  # a restart unmounts it


@pytest.fixture(scope="module")
def argument_lists():
    """Record all argument lists of the host and of this machine, which share a kernel; return a function to end."""
    seen, over = [], threading.Event()

    def watch():
        while not over.wait(0.2):
            seen.append(subprocess.run(["ps", "-ewwo", "args"], capture_output=True, text=True, check=True).stdout)

    watcher = threading.Thread(target=watch)
    watcher.start()

    def end():
        over.set()
        watcher.join()
        return seen

    yield end
    end()


@pytest.fixture(scope="module")
def slow(hub, disk, play, argument_lists):
    """Pull a private model onto that disk from a hub that first does not answer and is then slow.

    The hub is silent for longer than the report interval. It stays slow until the play has reported its progress a few
    times, so that the test works on a machine of any speed.
    """
    shares = []

    def seen(line):
        if is_share(line):
            shares.append(line)
        if len(shares) == SHARES:
            hub.bytes_per_second = None

    hub.private.add("lab/small")
    hub.bytes_per_second = 100_000
    hub.faults.append(Fault("status", "/revision/main", code=503, wait=18))
    proxy = {"HF_ENDPOINT": hub.url, "HTTPS_PROXY": f"http://someone:{OF_THE_PROXY}@127.0.0.1:9"}
    try:
        vault = {"models_token": TOKEN}
        done = play("-vvv", "--diff", limit=ALONE, vault=vault, seen=seen, models_store=disk, models_environment=proxy)
    finally:
        hub.private.clear()
        hub.bytes_per_second = None
    assert done.returncode == 0, done.output
    return done


def test_a_slow_pull_reports_its_progress_every_15_seconds(slow):
    said = [(at, line) for at, line in slow.lines if line.startswith(f"{ALONE[0]}: ")]
    assert [line for _, line in said if "answered 503; retry in 18 s (1 of 8)" in line]
    shares = [line for _, line in said if is_share(line)]
    assert len(shares) >= SHARES
    assert "MiB/s" in shares[2]
    # Only the time from a job's first line to its last one counts, because Ansible's own time depends on the machine.
    jobs = [[]]
    for at, line in slow.lines:
        if line.startswith("TASK ["):
            jobs.append([])
        elif (at, line) in said:
            jobs[-1].append(at)
    assert max(after - before for job in jobs for before, after in pairwise(job)) <= 15


def test_the_token_is_never_shown(alone, disk, slow, argument_lists):
    seen = argument_lists()
    assert TOKEN not in slow.output
    assert OF_THE_PROXY not in slow.output
    assert any("roundhouse_pull" in text for text in seen)
    assert not any(TOKEN in text or OF_THE_PROXY in text for text in seen)
    assert TOKEN not in alone.check_output("journalctl --no-pager")
    # Ansible's async wrapper checks every 5 s whether its job has ended, and then removes the job's private file.
    left = f"grep -r {TOKEN} ~/.ansible_async ~/.ansible /run/roundhouse {disk}"
    assert alone.run(f"for i in $(seq 20); do {left} || exit 0; sleep 0.5; done; exit 1").rc == 0


def test_a_store_on_another_disk_works(hub, alone, disk, slow, play):
    assert slow.changed() == list(ALONE)
    assert sums(alone, folder(hub, disk)) == wanted(hub)
    assert play(limit=ALONE, models_store=disk).changed() == []


def test_a_restart_ends_the_play_and_the_next_run_resumes_the_pull(hub, alone, play):
    """Check that the play ends, although Ansible's job file survives the restart and never reports an end."""
    store, over = "/srv/restarted", threading.Event()
    came = f"test $(find {store} -name '*.part' -exec cat {{}} + | wc -c) -gt {2 * MIB}"

    def restart():
        """Restart the host during the pull and return the time; None if the play ended before."""
        try:
            while not hub.paused.wait(0.2):
                if over.is_set():
                    return None
            # Data that the hub has sent may still be in the socket.
            alone.check_output("timeout 60 sh -c %s", f"until {came}; do sleep 0.2; done")
            begun = time.monotonic()
            subprocess.run(["docker", "restart", "--time", "2", ALONE[0]], check=True, capture_output=True)
            return begun
        finally:
            hub.go_on()

    hub.pause_after(4 * MIB)
    with ThreadPoolExecutor(1) as pool:
        restarting = pool.submit(restart)
        try:
            done = play(limit=ALONE, models_store=store)
        finally:
            over.set()
        restarted = restarting.result()
    assert restarted, done.output
    assert time.monotonic() - restarted < 240  # the host was up long before; a hanging job would take hours
    assert done.returncode != 0
    assert "it ended without a result, for example because the host restarted" in done.output
    assert "What came is kept: run the play again" in done.output
    alone.check_output("timeout 60 sh -c 'until systemctl is-system-running --wait; do sleep 0.5; done' || true")
    before = hub.out
    again = play(limit=ALONE, models_store=store)
    assert again.returncode == 0, again.output
    # Data in transit at the restart is downloaded again: at most a part of each file, 12 MiB in total.
    assert hub.out - before < 11 * MIB
    assert sums(alone, folder(hub, store)) == wanted(hub)


def test_a_full_disk_is_reported_before_the_first_byte(hub, alone, play):
    alone.check_output("mkdir -p /tmp/tight && mount -t tmpfs -o size=5m tmpfs /tmp/tight")
    before = hub.sent_bytes()
    try:
        done = play(limit=ALONE, models_store="/tmp/tight/store")
    finally:
        alone.check_output("umount /tmp/tight")
    assert done.returncode != 0
    assert "/tmp/tight/store has 0.00 GiB free but needs 0.01 GiB (lab/small at" in done.output
    assert hub.sent_bytes() == before
