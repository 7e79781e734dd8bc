"""A hub's models through the role: byte for byte, once, with a word at least every 15 seconds."""

import json
import subprocess
import threading
import time
from itertools import pairwise

from conftest import NAMES, STORE, WEIGHTS
from faulty_hub import MIB, TOKEN, Fault

OF_THE_PROXY = "a-password-of-a-proxy"


def folder(hub):
    return f"{STORE}/lab/small/{hub.shelf.revision('lab/small', 'main')}"


def sums(host, place):
    """Return the sha256 of each file of a folder on the host, by name."""
    lines = host.check_output(f"cd {place} && sha256sum *").splitlines()
    return dict(reversed(line.split()) for line in lines)


def wanted(hub):
    """Return the same of the hub's own files."""
    place = hub.shelf.folder("lab/small")
    lines = subprocess.run(
        ["sha256sum", *sorted(path.name for path in place.iterdir())],
        cwd=place,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    found = dict(reversed(line.split()) for line in lines)
    return {name: value for name, value in found.items() if not name.endswith((".bin", ".py"))}


def test_check_mode_says_what_it_would_pull_and_writes_nothing(hub, hosts, play, fresh, tmp_path):
    done = play(None, "--check", "--diff")
    assert done.returncode == 0, done.output
    assert done.changed() == list(NAMES)
    assert done.output.count("would pull lab/small at main") == len(NAMES)
    assert not (tmp_path / "models.lock").exists()
    assert hub.sent_bytes() == 0
    assert not any(host.file(STORE).exists for host in hosts)


def test_both_hosts_get_the_hubs_bytes_and_the_second_run_needs_no_hub(hub, hosts, play, fresh, tmp_path):
    first = play()
    assert first.returncode == 0, first.output
    assert first.changed() == list(NAMES)
    assert all(sums(host, folder(hub)) == wanted(hub) for host in hosts)
    locked = json.loads((tmp_path / "models.lock").read_text())["models"]["lab/small@main"]
    assert folder(hub).endswith(locked["revision"])
    before = len(hub.log)
    again = play({"models_environment": {"HF_ENDPOINT": "http://127.0.0.1:9"}})
    assert again.returncode == 0, again.output
    assert again.changed() == []
    assert len(hub.log) == before

    hosts[0].check_output(f"printf x | dd of={folder(hub)}/{WEIGHTS} bs=1 seek=5000 conv=notrunc status=none")
    mended = play()
    assert mended.changed() == [NAMES[0]]
    assert {sent.path.rpartition("/")[2] for sent in hub.log[before:] if sent.size} == {WEIGHTS}
    assert sums(hosts[0], folder(hub)) == wanted(hub)


def test_a_slow_pull_says_how_far_it_is_and_shows_the_token_to_nobody(hub, hosts, play, fresh):
    seen, over = [], threading.Event()

    def watch():
        """Note every argument list of the host, and of this machine, which are the same kernel's."""
        while not over.wait(0.2):
            seen.append(subprocess.run(["ps", "-ewwo", "args"], capture_output=True, text=True, check=True).stdout)

    hub.private.add("lab/small")
    hub.bytes_per_second = 200_000
    hub.faults.append(Fault("status", "/revision/main", code=503, wait=18))
    proxy = {"HF_ENDPOINT": hub.url, "HTTPS_PROXY": f"http://someone:{OF_THE_PROXY}@127.0.0.1:9"}
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        vault = {"models_token": TOKEN}
        done = play({"models_environment": proxy}, "-vvv", "--diff", limit=NAMES[:1], vault=vault)
    finally:
        over.set()
        watcher.join()
        hub.private.clear()
        hub.bytes_per_second = None
    assert done.returncode == 0, done.output
    said = [(at, line) for at, line in done.lines if line.startswith(f"{NAMES[0]}: ") and " MiB (" in line]
    assert len(said) > 3
    assert "MiB/s" in said[2][1]
    assert max(after - before for (before, _), (after, _) in pairwise(done.lines)) <= 15
    assert [line for _, line in done.lines if "answers 503; again in 18 s (1 of 8)" in line]
    assert TOKEN not in done.output
    assert OF_THE_PROXY not in done.output
    assert any("roundhouse_pull" in text for text in seen)
    assert not any(TOKEN in text or OF_THE_PROXY in text for text in seen)
    assert TOKEN not in hosts[0].check_output("journalctl --no-pager")
    # Ansible's async wrapper looks every 5 s whether its job has ended, and removes the job's private file then.
    left = f"grep -r {TOKEN} ~/.ansible_async ~/.ansible /run/roundhouse {STORE}"
    assert hosts[0].run(f"for i in $(seq 20); do {left} || exit 0; sleep 0.5; done; exit 1").rc == 0


def test_a_host_that_restarts_ends_the_play_and_the_next_goes_on_where_it_was(hub, hosts, play):
    """Ansible's file of the job outlives the restart, and says for ever that it has not finished."""
    keeps, began, restarted = {"models_store": "/srv/restarted"}, hub.out, []

    def restart(line):
        if hub.out - began > 3 * MIB and not restarted:
            restarted.append(time.monotonic())
            subprocess.run(["docker", "restart", "--time", "2", NAMES[0]], check=True, capture_output=True)

    hub.bytes_per_second = 400_000
    try:
        done = play(keeps, limit=NAMES[:1], seen=restart)
    finally:
        hub.bytes_per_second = None
    assert restarted, done.output
    assert time.monotonic() - restarted[0] < 90
    assert done.returncode != 0
    assert "it ended without a result, as when the host was restarted" in done.output
    assert "what came is kept, run the play again" in done.output
    hosts[0].check_output("timeout 60 sh -c 'until systemctl is-system-running --wait; do sleep 0.5; done' || true")
    before = hub.out
    again = play(keeps, limit=NAMES[:1])
    assert again.returncode == 0, again.output
    assert hub.out - before < 10 * MIB
    place = folder(hub).replace(STORE, "/srv/restarted")
    assert sums(hosts[0], place) == wanted(hub)


def test_a_store_on_another_disk_is_one_as_well(hub, hosts, play):
    hosts[0].check_output("mkdir -p /mnt/disk && mount -t tmpfs -o size=64m tmpfs /mnt/disk")
    try:
        first = play({"models_store": "/mnt/disk"}, limit=NAMES[:1])
        assert (first.returncode, first.changed()) == (0, [NAMES[0]]), first.output
        assert sums(hosts[0], folder(hub).replace(STORE, "/mnt/disk")) == wanted(hub)
        assert play({"models_store": "/mnt/disk"}, limit=NAMES[:1]).changed() == []
    finally:
        hosts[0].check_output("umount /mnt/disk")


def test_a_disk_that_lacks_space_is_named_before_the_first_byte(hub, hosts, play):
    hosts[0].check_output("mkdir -p /tmp/tight && mount -t tmpfs -o size=5m tmpfs /tmp/tight")
    before = hub.sent_bytes()
    try:
        done = play({"models_store": "/tmp/tight/store"}, limit=NAMES[:1])
    finally:
        hosts[0].check_output("umount /tmp/tight")
    assert done.returncode != 0
    assert "/tmp/tight/store has 0.00 GiB free and 0.01 GiB are still to come (lab/small at" in done.output
    assert hub.sent_bytes() == before


def test_another_host_of_the_inventory_is_a_source_without_a_hub(hub, hosts, play, fresh):
    before = hub.out
    both = play({"models_source": NAMES[0]})  # it brings its own from the hub first, and the other one from there
    assert (both.returncode, both.changed()) == (0, list(NAMES)), both.output
    assert hub.out - before == sum((hub.shelf.folder("lab/small") / name).stat().st_size for name in wanted(hub))
    assert sums(hosts[1], folder(hub)) == wanted(hub)
    hosts[1].check_output(f"rm -rf {STORE}")
    before = len(hub.log)
    without = {"models_source": NAMES[0], "models_environment": {"HF_ENDPOINT": "http://127.0.0.1:9"}}
    done = play(without)
    assert done.returncode == 0, done.output
    assert done.changed() == [NAMES[1]]
    assert len(hub.log) == before
    assert sums(hosts[1], folder(hub)) == wanted(hub)
    hosts[1].check_output(f"rm -rf {STORE}")
    alone = play(without, limit=NAMES[1:])  # the other one is not in this play
    assert alone.returncode == 0, alone.output
    assert (alone.changed(), len(hub.log)) == ([NAMES[1]], before)
    assert sums(hosts[1], folder(hub)) == wanted(hub)
    listening = hosts[0].check_output("timeout 10 sh -c 'while ss -ltn | grep -q :8098; do sleep 0.2; done'; ss -ltn")
    assert ":8098" not in listening


def test_an_absent_repository_and_a_wrong_token_end_in_one_sentence(hub, hosts, play, fresh):
    done = play({"lab_model": "lab/none"}, limit=NAMES[:1])
    assert done.returncode != 0
    assert "lab/none was not found on " in done.output
    assert "mend its name in the roster" in done.output
    done = play({"models_environment": {"HF_TOKEN": TOKEN, "HF_ENDPOINT": hub.url}}, limit=NAMES[:1])
    assert "models_environment holds HF_TOKEN: put it into models_token" in done.output
    assert not hosts[0].file(STORE).exists
