"""A disk that fails at any change of a pull gives one error, leaves a valid store, and the next pull completes."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from faulty_hub import FaultyHub, make_model
from killed_host import Snapshot, observe
from pulling import FETCHED, MODEL, RETRY, WEIGHTS, Notes, folder, is_whole, place, replace_last_byte  # noqa: F401
from test_kills import tell  # noqa: F401 - fixture

from roundhouse.errors import RoundhouseError
from roundhouse.models import download, pull, store, verify
from roundhouse.models.folder_source import FolderSource
from roundhouse.models.hub import Hub
from roundhouse.models.pull_job import PullRequest

# The error's code, and whether the later changes fail too. A disk that became read-only stays so.
CODES = {
    errno.ENOSPC: ("disk_full", (False, True)),
    errno.EIO: ("store_write_failed", (False,)),
    errno.EROFS: ("store_write_failed", (True,)),
}
BYTES = 1000


@pytest.fixture
def hub(tmp_path):
    """Return a hub with a small model; each pull reads it from a folder, because the disk is the subject."""
    make_model(tmp_path / "hub/small", dict.fromkeys((WEIGHTS, "model-00002-of-00002.safetensors"), BYTES))
    with FaultyHub(tmp_path / "hub") as running:
        yield running


class Stream:
    """A file whose write may fail."""

    def __init__(self, real, change):
        self._real, self._change = real, change

    def __enter__(self):
        self._real.__enter__()
        return self

    def __exit__(self, *how):
        return self._real.__exit__(*how)

    def __getattr__(self, name):
        return getattr(self._real, name)

    def write(self, content):
        self._change(f"/proc/self/fd/{self._real.fileno()}")
        return self._real.write(content)


class Disk:
    """Let changes below a folder fail: the N-th one, or all from the N-th on. A change is a name, content or a sync."""

    def __init__(self, root, monkeypatch):
        self._root, self.number, self.seen, self.always, self.error = str(root), None, 0, False, errno.ENOSPC
        observe(self._audit)
        for module, name in ((os, "fsync"), (os, "write"), (os, "ftruncate"), (download, "_write")):
            monkeypatch.setattr(module, name, self._failing(getattr(module, name)))
        fdopen = os.fdopen
        monkeypatch.setattr(os, "fdopen", lambda *words, **how: Stream(fdopen(*words, **how), self._change))

    def _failing(self, real):
        def operate(out, *words):
            self._change(f"/proc/self/fd/{out if isinstance(out, int) else out.fileno()}")
            return real(out, *words)

        return operate

    def _audit(self, event, arguments):
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_CREAT | os.O_WRONLY)):
            return
        if isinstance(arguments[0], (str, os.PathLike)):
            self._change(str(arguments[0]))

    def _change(self, path):
        name = str(Path(path).readlink()) if path.startswith("/proc/self/fd/") else path
        if not name.startswith(self._root):
            return
        self.seen += 1
        if self.number is not None and (self.seen == self.number or (self.always and self.seen > self.number)):
            raise OSError(self.error, os.strerror(self.error), *([] if name != path else [path]))

    def fail(self, number, error, *, always):
        self.seen, self.number, self.error, self.always = 0, number, error, always

    def repair(self):
        self.number = None


def new(hub, place):  # noqa: F811
    """Leave the store empty."""


def damaged(hub, place):  # noqa: F811
    """Let a model have one file that differs."""
    run(hub, place)
    replace_last_byte(folder(hub, place) / WEIGHTS)
    os.utime(folder(hub, place) / WEIGHTS)


def partial(hub, place):  # noqa: F811
    """Leave what a killed pull left: one file, the beginning of another one, and an unrelated file."""
    run(hub, place)
    final = folder(hub, place)
    final.rename(store.partial(place, MODEL, final.name))
    left = store.partial(place, MODEL, final.name)
    (left / "config.json").unlink()
    (left / WEIGHTS).rename(left / f"{WEIGHTS}.part")
    os.truncate(left / f"{WEIGHTS}.part", BYTES // 2)
    (left / "unrelated").touch()


def removed(hub, place):  # noqa: F811
    """Leave a removal that was killed, beside a copied model with other times."""
    run(hub, place)
    final = folder(hub, place)
    shutil.copytree(final, final.with_name(f"{'0' * 40}{store.REMOVING}"))
    for name in FETCHED:
        os.utime(final / name)


STORES = {"new": new, "damaged": damaged, "partial": partial, "removed": removed}


def run(hub, place):  # noqa: F811
    source = place.with_name("source")
    with Notes() as shown:
        return pull.Pull(place, FolderSource(source), shown, retry=RETRY, workers=1).run([PullRequest(MODEL, "main")])


def fails(hub, place, code, what):  # noqa: F811
    """Return whether the pull fails; its error must be the disk's, name a path of the store, and name it once."""
    try:
        run(hub, place)
    except RoundhouseError as error:
        assert error.code == code, (what, error.code, error.message)
        assert str(place) in error.text, (what, error.message)
        assert error.remedy, what
        assert error.message.count("\n") == 0, (what, error.message)
        return True
    return False


def problems(place):  # noqa: F811
    """Return what is wrong with the models that the store calls complete."""
    held = [found for found in store.stored_models(place) if found.manifest]
    return [problem for found in held for problem in verify.problems(found.folder, Notes())]


@pytest.mark.parametrize("error", CODES, ids=["full", "failing", "read-only"])
@pytest.mark.parametrize("name", STORES)
def test_a_change_that_fails_costs_no_file_of_the_store(name, error, hub, place, tell, monkeypatch):  # noqa: F811
    with Notes() as shown:
        pull.Pull(place.with_name("source"), Hub(hub.url), shown).run([PullRequest(MODEL, "main")])
    place.mkdir()
    STORES[name](hub, place)
    before = Snapshot(place)
    disk, (code, kinds) = Disk(place, monkeypatch), CODES[error]
    disk.fail(None, error, always=False)
    run(hub, place)
    changes, failures = disk.seen, 0
    assert is_whole(hub, place)
    before.restore()
    for number in range(1, changes + 1):
        for always in kinds:
            disk.fail(number, error, always=always)
            failures += fails(hub, place, code, f"{number}, {always=}")
            disk.repair()
            if name != "damaged":
                assert problems(place) == [], (number, always)
            run(hub, place)
            assert is_whole(hub, place), (number, always)
            before.restore()
    tell(f"pull, {name}: {changes} changes with the error {os.strerror(error).lower()!r}; {failures} errors")
    assert failures > 0
