"""A pull that is killed at any point downloads at most 16 MiB twice and leaves no partial model and no orphan."""

import importlib.util
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
from clock import TIMEOUT_SECONDS, until
from faulty_hub import MIB, ROOT, TOKEN
from pulling import (
    FETCHED,
    MODEL,
    WEIGHTS,
    Notes,
    folder,
    has_no_complete_model,
    is_whole,
    pull_models,
    replace_last_byte,
)

from roundhouse.models import manifest, store, verify

pytest_plugins = ("pulling",)  # the fixtures hub and place

_spec = importlib.util.spec_from_file_location("bench_pull", ROOT / "benchmarks/pull.py")
bench = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(bench)
SHARDS = (WEIGHTS, "model-00002-of-00002.safetensors")
BOUND = 16 * MIB  # what one kill may cost
LEAST, MOST = 17 * MIB, 20 * MIB  # bytes of each file that a run downloads before it is killed


@pytest.fixture
def large(hub, request):
    """Put a model of two files with that many MiB on the hub, which sends each at about 50 MiB/s."""
    shutil.rmtree(hub.repositories.folder(MODEL))
    bench.make(hub.repositories.folder(MODEL), len(SHARDS), request.param)
    hub.repositories.revision(MODEL, "main")  # computes the checksums
    hub.bytes_per_second, hub.most_at_a_time = 50 * MIB, MOST
    return hub


def wait(running, until):
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not until():
        assert running.poll() is None, running.said()
        assert time.monotonic() < deadline
        time.sleep(0.001)


def kill(running, hub):
    running.kill()
    running.communicate()
    until(lambda: not hub.going)  # the hub has noticed the end and recorded its bytes


def killed_after(hub, place, command):
    """Run a pull, kill it after enough bytes of each file, and return the bytes of each."""
    before = dict(hub.out_of)

    def moved():
        return [hub.out_of[name] - before.get(name, 0) for name in SHARDS]

    enough = random.SystemRandom().randint(LEAST, MOST - MIB)
    running = command()
    wait(running, lambda: min(moved()) > enough)
    kill(running, hub)
    assert has_no_complete_model(place)
    return moved()


def killed_while_it_reads(hub, command):
    """Kill a pull while it reads existing bytes; return whether it had not yet requested more."""
    before = dict(hub.out_of)
    running = command()
    wait(running, lambda: reads_a_part(running) or dict(hub.out_of) != before)
    kill(running, hub)
    return dict(hub.out_of) == before


def fetched_twice(hub, name):
    """Return for each pair of consecutive answers how many bytes the second one sent again."""
    answers = [sent for sent in hub.log if sent.path.endswith(name) and sent.method == "GET"]
    assert all(after.start <= before.start + before.size for before, after in pairwise(answers))  # without a gap
    return [before.start + before.size - after.start for before, after in pairwise(answers)]


def reads_a_part(running):
    """Return whether the process is reading the bytes of an earlier run, as the kernel reports."""
    folder = Path(f"/proc/{running.pid}")
    for link in (folder / "fd").iterdir():
        try:
            name, facts = str(link.readlink()), (folder / "fdinfo" / link.name).read_text().split()
        except FileNotFoundError:  # closed meanwhile
            continue
        if name.endswith(".part") and int(facts[3], 8) & os.O_ACCMODE == os.O_RDONLY:
            return 8 * MIB < int(facts[1]) < Path(name).stat().st_size
    return False


@pytest.fixture
def tell(capsys):
    """Return a function that shows a line of numbers even if the test passes."""

    def told(*words):
        with capsys.disabled():
            sys.stdout.write(f"\n{' '.join(map(str, words))}")

    return told


@pytest.mark.parametrize("large", [220], indirect=True)
def test_killed_at_ten_random_moments_no_byte_is_fetched_twice_beyond_the_last_16_mib(large, place, command, tell):
    moved = [killed_after(large, place, command) for _ in range(10)]
    assert min(map(min, moved)) > BOUND  # so that a restarted file would be detected
    missed = 0
    for _ in range(3):
        while not killed_while_it_reads(large, command):
            missed += 1
    large.bytes_per_second = large.most_at_a_time = None
    running = command()
    output, errors = running.communicate()
    assert running.returncode == 0, errors
    assert TOKEN not in output + errors

    again = {name: fetched_twice(large, name) for name in SHARDS}
    tell("MiB brought until each kill:", [[round(size / MIB) for size in sizes] for sizes in moved])
    for name, sizes in again.items():
        tell(f"MiB fetched twice, {name}:", [round(size / MIB, 1) for size in sizes])
        assert 10 <= len(sizes) <= 10 + missed
        assert max(sizes) <= BOUND
    total = sum(large.out_of[name] for name in SHARDS)
    whole = sum((large.repositories.folder(MODEL) / name).stat().st_size for name in SHARDS)
    kills = 10 + missed
    tell(f"in all {total / MIB:.0f} MiB for {whole / MIB:.0f}, {(total - whole) / kills / MIB:.1f} a kill")
    assert total == whole + sum(map(sum, again.values()))
    assert total - whole <= kills * BOUND
    final = folder(large, place)
    assert verify.verify_all(place, [], Notes())[0]["problems"] == []
    assert {path.name for path in final.parent.iterdir()} == {store.LOCK, final.name}


@pytest.mark.parametrize("large", [80], indirect=True)
def test_these_numbers_detect_a_file_that_restarts(large, place, command):
    for _ in range(2):
        killed_after(large, place, command)
    (part,) = place.glob(f"*/*/*/{WEIGHTS}.part")
    part.unlink()
    killed_after(large, place, command)
    assert max(fetched_twice(large, SHARDS[0])) > BOUND
    assert max(fetched_twice(large, SHARDS[1])) <= BOUND


@pytest.fixture
def killed(hub, place):
    """Return a function that pulls and dies before the N-th disk operation; it returns status and count."""
    program = [sys.executable, ROOT / "tests/unit/killed_pull.py", hub.url, place]
    running = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(number):
        running.stdin.write(f"{number}\n")
        running.stdin.flush()
        status, count = running.stdout.readline().split()
        return int(status), int(count)

    yield run
    running.stdin.close()
    running.wait(timeout=TIMEOUT_SECONDS)
    running.stdout.close()


def moments(killed, prepare):
    """Kill at each operation in turn, each time with a prepared store, until one run finishes."""
    for number in range(1, 200):
        prepare()
        status, count = killed(number)
        if status == 0:
            assert count == number - 1
            return
        assert (status, count) == (-signal.SIGKILL, number)
        yield number
    raise AssertionError("no end")


def test_killed_before_each_rename_and_removal_the_name_is_never_on_a_half_model(hub, place, killed, tell):
    died = []
    for moment in moments(killed, lambda: shutil.rmtree(place, ignore_errors=True)):
        died.append(moment)
        final = folder(hub, place)
        if final.exists():
            for name in FETCHED:
                assert (final / name).read_bytes() == (hub.repositories.folder(MODEL) / name).read_bytes()
            assert verify.verify_all(place, [], Notes())[0]["problems"] == []
        before = hub.out
        assert killed(0)[0] == 0
        assert hub.out - before <= 6 * MIB + 10_000
        assert is_whole(hub, place)
    tell("killed at", len(died), "moments")
    assert len(died) > 20


def test_killed_in_a_repair_every_file_is_the_old_one_or_the_right_one(hub, place, killed, tell):
    def damage():
        shutil.rmtree(place, ignore_errors=True)
        pull_models(hub, place)
        path = folder(hub, place) / WEIGHTS
        stamp = path.stat()
        replace_last_byte(path)
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))

    died = []
    right = (hub.repositories.folder(MODEL) / WEIGHTS).read_bytes()
    for moment in moments(killed, damage):
        died.append(moment)
        final = folder(hub, place)
        assert {path.name for path in final.iterdir()} >= {*FETCHED, manifest.NAME}
        content = (final / WEIGHTS).read_bytes()
        assert content == right or (content[:-1] == right[:-1] and len(content) == len(right))
        assert killed(0)[0] == 0
        assert is_whole(hub, place)
    tell("killed at", len(died), "moments")
    assert len(died) > 8
