"""A disk that is full or read-only at any write of a command costs no agent and no file, and gives one clear error."""

import errno
import os
from functools import partial

import pytest
from kill_cases import CASES
from killed_host import Snapshot
from test_deploy import host, stage  # noqa: F401 - fixtures
from test_kills import place, recover, tell, tmp_path, verify  # noqa: F401 - fixtures

from roundhouse.errors import RoundhouseError
from roundhouse.plan import plan_sets
from roundhouse.state import history

CODES = {errno.ENOSPC: "state_disk_full", errno.EROFS: "state_read_only"}
NEEDS_SPACE = ("open", "mkdir")


class Disk:
    """Let operations on files below a folder fail: the N-th one, or all from the N-th on."""

    def __init__(self, root, monkeypatch):
        self._root, self.number, self.seen, self.always, self.error = f"{root}/", None, 0, False, errno.ENOSPC
        for name in ("open", "mkdir", "rename", "unlink", "rmdir"):
            monkeypatch.setattr(os, name, self._failing(getattr(os, name), name))

    def _failing(self, real, name):
        def operate(path, *words, **options):
            if self._changes(name, path, words):
                self.seen += 1
                if self.number is not None and (self.seen == self.number or (self.always and self.seen > self.number)):
                    raise OSError(self.error, os.strerror(self.error), str(path))
            return real(path, *words, **options)

        return operate

    def _changes(self, name, path, words):
        if not str(path).startswith(self._root) or str(path).endswith(("/lock", ".lock")):
            return False
        if name == "open" and not words[0] & os.O_CREAT:
            return False
        return name in NEEDS_SPACE or self.error == errno.EROFS

    def fail(self, number, error, *, always):
        self.seen, self.number, self.error, self.always = 0, number, error, always

    def repair(self):
        self.number = None


@pytest.mark.parametrize("error", CODES, ids=["full", "read-only"])
@pytest.mark.parametrize("name", ["switch", "stop", "deployment", "changed roster", "rollback"])
def test_a_write_that_fails_costs_no_agent_and_no_file(name, error, place, tmp_path, tell, monkeypatch):  # noqa: F811
    case = CASES[name]
    allowed, work = case.allowed, partial(case.work, place.place)
    case.prepare(place.place)
    before = history.load()
    unharmed = Snapshot(tmp_path.parent)
    disk = Disk(tmp_path, monkeypatch)
    disk.fail(None, error, always=False)
    work()
    writes, failures = disk.seen, 0
    unharmed.restore()
    for number in range(1, writes + 1):
        for always in (False, True):
            disk.fail(number, error, always=always)
            failures += fails(work, CODES[error], f"{number}, {always=}")
            disk.repair()
            assert place.names() in allowed, (number, always)
            recover()
            verify(place, allowed)
            assert history.load()[: len(before)] == before
            assert plan_sets.load()
            unharmed.restore()
    what = f"{writes} writes with the error {os.strerror(error).lower()!r}, each alone and with all later ones"
    tell(f"{name}: {what}; {failures} errors")
    assert writes > 2
    assert failures > 0


def fails(work, code, what):
    """Return whether the work fails; its error must be the disk's, and name it once."""
    try:
        work()
    except RoundhouseError as error:
        codes = [error.code, *(each["code"] for each in error.fields.get("errors", []))]
        assert code in codes, (what, error.message)
        assert error.message.count("Cannot write") == 1, (what, error.message)
        return True
    return False
