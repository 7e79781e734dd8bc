"""A host of files for kill tests: its units, and a child process that is killed before its N-th effect.

An effect is what another process can see: a rename, a removal, a file opened for writing, or a request to systemd. The
state between two effects does not change, so a kill before each of them covers a kill at any moment.
"""

import gc
import os
import re
import shutil
import signal
import sys
from collections.abc import MutableSet
from pathlib import Path

from roundhouse.agents import start as agents_start
from roundhouse.host import systemd
from roundhouse.plan import deployed

# Parts of paths that differ from one run to the next: hashes of plans, process numbers and random names.
_OWN_NAME = re.compile(r"[0-9a-f]{8}|\.\d+$|\.\w{8}$")
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
        self._root, self._seen, self._last, self._counting = str(root), [], None, False
        for name in ("start", "stop", "reload"):
            monkeypatch.setattr(systemd, name, self._requested(getattr(systemd, name), name))
        observe(self._audit)
        gc.collect()
        gc.freeze()  # a collection in a child would copy the whole memory of its parent

    def _requested(self, asked, name):
        def request(*words, **options):
            self._point(f"{name} {words}")
            counting, self._counting = self._counting, False  # systemd does it, in its own process
            try:
                asked(*words, **options)
                if name == "start":
                    hook(words[0])
            finally:
                self._counting = counting

        return request

    def _point(self, effect):
        if self._counting:
            self._seen.append(_OWN_NAME.sub("", effect))
            if len(self._seen) == self._last:
                os.kill(os.getpid(), signal.SIGKILL)

    def _audit(self, event, arguments):
        if not self._counting or self._root not in str(arguments[0]):
            return
        if event != "open" or (isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE):
            self._point(f"{event} {arguments[0]}")

    def effects(self, work):
        """Do the work, and return its effects."""
        self._seen, self._last, self._counting = [], None, True
        try:
            work()
        finally:
            self._counting = False
        return self._seen

    def run(self, work, last):
        """Return whether the work ended before its effect number `last`."""
        child = os.fork()
        if not child:
            status = 1
            try:
                gc.disable()
                self._seen, self._last, self._counting = [], last, True
                work()
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        assert code in (0, -signal.SIGKILL), code
        return code == 0


_observers = []


def observe(audit):
    """Let only this function see the effects from now on. Python removes no audit hook, so there is one."""
    if not _observers:
        sys.addaudithook(lambda event, arguments: _observers[0](event, arguments) if event in EVENTS else None)
    _observers[:] = [audit]


class Snapshot:
    """The files below a folder at one moment, among them the units that are up."""

    def __init__(self, root):
        self._root, self._held = root, self._read(root)

    def _read(self, folder):
        found = {}
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_symlink():
                    found[entry.path] = Path(entry.path).readlink()
                elif entry.is_dir():
                    found |= {entry.path: None, **self._read(entry.path)}
                else:
                    seen = entry.stat()
                    found[entry.path] = (Path(entry.path).read_bytes(), seen.st_mode, seen.st_mtime_ns)
        return found

    def restore(self):
        """Put the files back, those alone that differ."""
        now = self._read(self._root)
        for path, what in sorted(now.items(), reverse=True):
            if path not in self._held or type(what) is not type(self._held[path]):
                shutil.rmtree(path) if what is None else Path(path).unlink()
                now.pop(path)
        for path, what in sorted(self._held.items()):
            if path in now and now[path] == what:
                continue
            self._put(Path(path), what)

    def _put(self, path, what):
        if what is None:
            path.mkdir()
        elif isinstance(what, Path):
            path.unlink(missing_ok=True)
            path.symlink_to(what)
        else:
            path.write_bytes(what[0])
            path.chmod(what[1] & 0o7777)
            os.utime(path, ns=(what[2], what[2]))


def hook(unit):
    """Do what the unit's ExecStartPost does once its engine is healthy."""
    if systemd.show(unit).state != "ready":
        return
    plan = deployed.load(deployed.PATH)
    (agent,) = [each for each in plan["agents"] if each["unit"] == unit]
    agents_start._record(plan, agent, lambda text: None)
