"""A folder or lock file that someone else prepared: no path outside of the store is read or written."""

import json
import os

import pytest
from faulty_hub import make_model
from pulling import MODEL, RETRY, Notes
from refusal import refused

from roundhouse.errors import RoundhouseError, UsageError
from roundhouse.models import lock, manifest, pull, store
from roundhouse.models.folder_source import FolderSource
from roundhouse.models.manifest import File
from roundhouse.models.pull_job import PullJob, PullRequest
from roundhouse.util import json_file

REVISION = "0123456789abcdef0123456789abcdef01234567"
NAME = "model.safetensors"


@pytest.fixture
def disk(tmp_path):
    """Return a disk with one exported model."""
    folder = tmp_path / "usb" / MODEL / REVISION
    make_model(folder, {NAME: 4096})
    files = [File(path.name, path.stat().st_size, "sha256:00") for path in sorted(folder.iterdir())]
    made = manifest.Manifest(MODEL, REVISION, files, asked="main", source="hub")
    exact = [File(one.path, one.size, digest(folder / one.path, one)) for one in files]
    made.files = manifest.wanted(exact, MODEL)
    made.write(folder)
    return tmp_path / "usb"


def digest(path, file):
    found = manifest.Digest(file)
    found.read(path)
    return found.checksum()


def pulled(disk, place, revision="main", files=None):
    with Notes() as shown:
        request = PullRequest(MODEL, revision, files=files)
        return pull.Pull(place, FolderSource(disk), shown, retry=RETRY).run([request])


def change(disk, **fields):
    path = disk / MODEL / REVISION / manifest.NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_a_prepared_folder_is_pulled(disk, tmp_path):
    assert pulled(disk, tmp_path / "store")[0]["revision"] == REVISION


@pytest.mark.parametrize("revision", ["s/../../../../etc/docker", "../" * 3 + "etc", "main", "a" * 40, "", 7, None])
def test_a_revision_of_a_prepared_folder_names_no_other_folder(disk, tmp_path, revision):
    target = tmp_path / "etc/docker"
    target.mkdir(parents=True)
    (target / "config.json").write_text("mine")
    change(disk, revision=revision)
    with refused("manifest_unreadable"):
        pulled(disk, tmp_path / "store")
    assert (target / "config.json").read_text() == "mine"


@pytest.mark.parametrize("files", [{"a\0.safetensors": "4 sha256:00"}, {"a.safetensors": "-4 sha256:00"}, {"\n": "1 "}])
def test_a_file_name_or_size_of_a_prepared_folder_is_an_error_and_no_traceback(disk, tmp_path, files):
    change(disk, files=files)
    with refused("manifest_unreadable"):
        pulled(disk, tmp_path / "store")


@pytest.mark.parametrize("kind", ["pipe", "endless", "long"])
def test_only_a_short_file_is_read_as_a_manifest(disk, tmp_path, kind):
    path = disk / MODEL / REVISION / manifest.NAME
    content = path.read_text()
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "endless":
        path.symlink_to("/dev/zero")
    else:
        path.write_text(content + " " * json_file.LARGEST_BYTES)
    with refused("manifest_unreadable"):
        pulled(disk, tmp_path / "store")


def test_a_link_of_a_prepared_folder_reads_no_file_of_the_host(disk, tmp_path):
    secret, own = tmp_path / "shadow", disk / MODEL / REVISION / NAME
    own.rename(secret)
    own.symlink_to(secret)
    with refused("source_link_outside", path=str(own)):
        pulled(disk, tmp_path / "store")
    assert not list(tmp_path.glob(f"store/**/{NAME}*"))


@pytest.mark.parametrize("revision", ["../../../etc", "main", "A" * 40])
def test_a_revision_of_a_lock_file_is_a_commit(tmp_path, revision):
    path = tmp_path / "models.lock"
    entry = {"revision": revision, "files": {"config.json": "2 git-sha1:00"}}
    path.write_text(json.dumps({"schema": 1, "models": {f"{MODEL}@main": entry}}))
    with pytest.raises(UsageError) as error:
        lock.read(path)
    assert error.value.code == "lock_unreadable"


@pytest.mark.parametrize("revision", ["s/../../x", "..", ".", "", "a\0b", "main/.."])
def test_the_stores_folder_of_a_revision_is_below_its_model(tmp_path, revision):
    for function in (store.folder, store.partial):
        with refused("revision_invalid"):
            function(tmp_path, MODEL, revision)


@pytest.mark.parametrize("model", ["../etc", "..", "a", "a/b/c", "a/..", "/etc/docker", "a/\0"])
def test_the_stores_folder_of_a_model_is_below_the_store(tmp_path, model):
    with refused("model_name_invalid"):
        store.folder(tmp_path, model, REVISION)


def test_only_a_commit_is_written_to_the_store(disk, tmp_path):
    with pytest.raises(RoundhouseError) as error:
        PullJob(PullRequest(MODEL, "main"), "main", [], tmp_path / "store", "usb")
    assert error.value.code == "revision_not_commit"
