"""A lock of apt is waited for, and reported with its holder."""

import subprocess
import sys
import time

import pytest
from real_apt import real_apt_host  # noqa: F401 - a fixture

from roundhouse.errors import RoundhouseError
from roundhouse.host import apt_get, receipt
from roundhouse.provision import host_files

# Locks the file as apt and dpkg do, until its input ends.
HOLD = """\
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def hold():
    """Return a function that locks a file in another process and returns that process."""
    made = []

    def lock(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-c", HOLD, str(path)]
        made.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert made[-1].stdout.readline() == "locked\n"
        return made[-1]

    yield lock
    for process in made:
        process.communicate()


@pytest.mark.parametrize("index", range(len(apt_get.LOCKS)))
def test_each_lock_is_reported_with_its_holder(host, hold, index):
    path = apt_get.LOCKS[index]
    process = hold(path)
    with pytest.raises(RoundhouseError) as refused:
        apt_get.run("update")
    assert refused.value.code == "apt_locked"
    assert refused.value.fields["path"] == str(path)
    assert refused.value.fields["holder"].endswith(f"(pid {process.pid})")
    process.communicate()
    assert apt_get.run("update").returncode == 0


def test_apts_own_refusal_is_recognized(host, hold, monkeypatch):
    """Run the real apt against the lock of its lists, as if the lock was taken after the check."""
    hold(apt_get.LOCKS[0])
    monkeypatch.setattr(apt_get, "LOCKS", apt_get.LOCKS[1:])
    with pytest.raises(RoundhouseError) as refused:
        apt_get.run("update")
    assert (refused.value.code, refused.value.fields["path"]) == (
        "apt_locked",
        str(host.root / "var/lib/apt/lists/lock"),
    )


def test_a_repository_is_added_after_the_wait(host, hold, monkeypatch):
    process, told = hold(apt_get.LOCKS[0]), []
    monkeypatch.setattr(apt_get, "CHECK_SECONDS", 0.1)

    def tell(line):
        told.append(line)
        process.communicate()  # a first boot ends its update

    done = apt_get.wait(lambda: host_files.put_apt_source(dict(host.wanted), check=False), tell)
    assert done["changed"]
    assert f"waiting up to 600 s for {apt_get.LOCKS[0]}, which python" in told[0]
    assert len(told) == 1


def test_a_lock_that_stays_is_one_error(host, hold, monkeypatch):
    process = hold(apt_get.LOCKS[1])
    monkeypatch.setattr(apt_get, "CHECK_SECONDS", 0.05)
    begun = time.monotonic()
    with pytest.raises(RoundhouseError) as refused:
        apt_get.wait(apt_get.require_unlocked, lambda line: None, seconds=0.3)
    assert time.monotonic() - begun >= 0.3
    assert refused.value.code == "apt_locked"
    assert f"(pid {process.pid})" in refused.value.message


def test_packages_are_not_recorded_while_apt_is_locked(host, hold):
    hold(apt_get.LOCKS[1])
    for record in (receipt.before_installing, receipt.before_holding):
        with pytest.raises(RoundhouseError) as refused:
            record(["a-package"], check=False)
        assert refused.value.code == "apt_locked"
        assert not record(["a-package"], check=True)


def test_another_error_is_not_repeated():
    calls = []

    def call():
        calls.append(1)
        raise RoundhouseError("key_invalid", "no key")

    with pytest.raises(RoundhouseError):
        apt_get.wait(call, print)
    assert len(calls) == 1
