"""Only the lock's account can hold it, waits are limited, and an error names the holder."""

import os
import subprocess
import sys

import pytest

from roundhouse.errors import RoundhouseError
from roundhouse.util import lock

OTHER_ACCOUNT = 65534
HOLDS = """
import fcntl, os, sys
os.setgroups([]); os.setgid({account}); os.setuid({account})
try:
    descriptor = os.open({path!r}, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
except OSError as error:
    sys.exit(f"{{type(error).__name__}}")
print("held", flush=True)
sys.stdin.read()
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a program as another account")


@pytest.fixture
def path(tmp_path):
    """Return a lock file. The programs reach it from its folder, because its parents are root's alone."""
    tmp_path.chmod(0o755)
    return tmp_path / "some.lock"


def holding(path, account):
    """Return a process of that account that tries to hold the lock until its input ends."""
    code = HOLDS.format(path=path.name, account=account)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", code], text=True, cwd=path.parent, **pipes)


@as_root
def test_another_account_cannot_hold_a_lock(path):
    path.write_text("")
    path.chmod(0o644)  # as an earlier version created it
    with lock.exclusive(path):
        pass
    with holding(path, OTHER_ACCOUNT) as other:
        assert other.communicate()[1].strip() == "PermissionError"


@as_root
def test_an_error_names_the_holder_after_the_wait(path):
    path.write_text("")
    with holding(path, 0) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RoundhouseError) as refused, lock.exclusive(path, 0.1):
            pass
        other.stdin.close()
    assert refused.value.code == "lock_held"
    assert refused.value.fields["path"] == str(path)
    # A file system such as overlayfs can give the kernel's list another device than stat() does.
    assert refused.value.fields["holder"] in (f"python (pid {other.pid})", "another process")


def test_a_link_is_not_opened(path):
    victim = path.with_name("victim")
    victim.write_text("kept")
    path.symlink_to(victim)
    with pytest.raises(OSError, match="symbolic link"), lock.exclusive(path):
        pass
    assert victim.read_text() == "kept"


@as_root
def test_another_account_sees_whether_a_lock_is_held(path):
    code = f"import os, pathlib; from roundhouse.util import lock; os.setuid({OTHER_ACCOUNT}); "
    code += f"print(lock.is_held(pathlib.Path({path.name!r})))"

    def seen():
        command = [sys.executable, "-c", code]
        return subprocess.run(command, capture_output=True, text=True, cwd=path.parent, check=True).stdout

    assert not lock.is_held(path)
    with lock.exclusive(path):
        assert lock.is_held(path)
        assert seen() == "True\n"
    assert seen() == "False\n"
    assert not lock.is_held(path)
