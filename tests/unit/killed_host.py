"""A host of files for kill tests: its units, and a child process that is killed before its N-th effect.

An effect is what another process can see: a rename, a removal, a file opened for writing, or a request to systemd. The
state between two effects does not change, so a kill before each of them covers a kill at any moment.
"""

import os
import signal
import sys
from collections.abc import MutableSet

from roundhouse.agents import start as agents_start
from roundhouse.host import systemd
from roundhouse.plan import deployed

EVENTS = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "open")


class Files(MutableSet):
    """A set of names that a killed process leaves on the disk."""

    def __init__(self, folder, names=()):
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self |= set(names)

    def __contains__(self, name):
        return (self.folder / name).exists()

    def __iter__(self):
        return iter([path.name for path in self.folder.iterdir()])

    def __len__(self):
        return len(list(self.folder.iterdir()))

    def add(self, name):
        (self.folder / name).touch()

    def discard(self, name):
        (self.folder / name).unlink(missing_ok=True)


class Killer:
    """Run work in a child process, which ends before its N-th effect below a folder."""

    def __init__(self, root, monkeypatch):
        self._root, self._seen, self._last, self._counting = str(root), 0, None, False
        for name in ("start", "stop", "reload"):
            monkeypatch.setattr(systemd, name, self._requested(getattr(systemd, name), name))

    def _requested(self, asked, name):
        def request(*words, **options):
            self._point()
            counting, self._counting = self._counting, False  # systemd does it, in its own process
            try:
                asked(*words, **options)
                if name == "start":
                    hook(words[0])
            finally:
                self._counting = counting

        return request

    def _point(self):
        if self._counting:
            self._seen += 1
            if self._seen == self._last:
                os.kill(os.getpid(), signal.SIGKILL)

    def _audit(self, event, arguments):
        if not self._counting or event not in EVENTS or self._root not in str(arguments[0]):
            return
        if event != "open" or (isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE):
            self._point()

    def run(self, work, last):
        """Return whether the work ended before its effect number `last`."""
        child = os.fork()
        if not child:
            status = 1
            try:
                sys.addaudithook(self._audit)
                self._last, self._counting = last, True
                work()
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        assert code in (0, -signal.SIGKILL), code
        return code == 0


def hook(unit):
    """Do what the unit's ExecStartPost does once its engine is healthy."""
    if systemd.show(unit).state != "ready":
        return
    plan = deployed.load(deployed.PATH)
    (agent,) = [each for each in plan["agents"] if each["unit"] == unit]
    agents_start._record(plan, agent, lambda text: None)
