"""The commands of the store, and the other sources of models: a folder and another host's store."""

import hashlib
import json
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import pytest
import yaml
from clock import TIMEOUT_SECONDS, until
from faulty_hub import MIB, ROOT, FaultyHub, make_model
from real_gateway import free_port
from refusal import refused
from warm import Warm

from roundhouse.models import manifest, peer_server, planned, prune, pull, quantized, store, store_layout, verify
from roundhouse.models.folder_source import FolderSource
from roundhouse.models.hub import Hub
from roundhouse.models.manifest import File
from roundhouse.models.pull_job import PullRequest
from roundhouse.models.retry import Retry
from roundhouse.provision import model_state, pull_module
from roundhouse.util.progress import Progress

QUIET = {"progress_path": None}
RETRY = Retry(tries=2, first_seconds=0.01)
MODEL = "lab/small"


def quiet():
    return Progress(lambda event: None, 1)


def pull_models(source, place, model=MODEL, revision="main"):
    return pull.Pull(place, source, quiet(), retry=RETRY).run([PullRequest(model, revision)])[0]


@pytest.fixture
def hub(tmp_path):
    for name in ("small", "other"):
        make_model(tmp_path / "hub" / name, {"model.safetensors": 2 * MIB})
    with FaultyHub(tmp_path / "hub") as running:
        yield running


@pytest.fixture
def place(hub, tmp_path):
    """Return a store with one model."""
    pull_models(Hub(hub.url), tmp_path / "store")
    return tmp_path / "store"


def test_models_lists_what_is_there_and_prune_asks_first(warm, hub, place):
    listed = warm.run("models", "--store", place)
    assert listed.stdout.splitlines()[1].startswith("lab/small")
    assert "not whole" not in listed.stdout
    (row,) = json.loads(warm.run("models", "--store", place, "--json").stdout)["models"]
    assert (row["model"], row["agents"]) == (MODEL, [])
    assert row["verified_at"]
    refused = warm.run("prune", "--store", place)
    assert (refused.returncode, refused.stderr) == (
        2,
        "No model was removed: the removal was not confirmed. Add --yes.\n",
    )
    assert store.folder(place, MODEL, row["revision"]).is_dir()
    removed = json.loads(warm.run("prune", "--store", place, "--yes", "--json").stdout)["removed"]
    assert removed == [str(store.folder(place, MODEL, row["revision"]))]
    assert not list(store.stored_models(place))
    assert warm.run("prune", "--store", place).stdout == "no model to remove\n"


def test_prune_keeps_what_a_plan_names_and_the_revision_before_it(hub, place, tmp_path):
    first = next(iter(store.stored_models(place))).folder
    hub.repositories.move(MODEL, lambda moved: (moved / "config.json").write_text("{}"))
    second = pull_models(Hub(hub.url), place)["path"]
    other = pull_models(Hub(hub.url), place, "lab/other")["path"]
    (store.partial(place, "lab/other", "0" * 40)).mkdir()
    plan = {"agents": [{"name": "dev", "model_path": second}, {"name": "po", "model_path": second}]}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    users = prune.paths_of_plans(tmp_path)
    assert users == {second: ["dev", "po"]}
    going = {str(held.folder) for held in prune.unused(place, users, keep_earlier=True)}
    assert going == {other, str(store.partial(place, "lab/other", "0" * 40))}
    going = {str(held.folder) for held in prune.unused(place, users, keep_earlier=False)}
    assert str(first) in going


def test_prune_keeps_what_a_rollback_needs(place, tmp_path):
    there = next(iter(store.stored_models(place))).folder
    (tmp_path / "plan.json").write_text(json.dumps({"agents": [{"name": "dev", "model_path": "/elsewhere"}]}))
    earlier = tmp_path / "plans"
    (earlier / "38e895e9").mkdir(parents=True)
    served = {"agents": [{"name": "dev", "model_path": str(there)}]}
    (earlier / "38e895e9/plan.json").write_text(json.dumps(served))
    users = prune.paths_of_plans(tmp_path, earlier)
    assert users == {"/elsewhere": ["dev"], str(there): ["dev (rollback)"]}
    assert prune.unused(place, users, keep_earlier=False) == []
    assert [held.folder for held in prune.unused(place, prune.paths_of_plans(tmp_path), keep_earlier=False)] == [there]


def test_prune_keeps_what_a_play_is_about_to_deploy(place, tmp_path):
    there = next(iter(store.stored_models(place))).folder
    (tmp_path / "staged/native").mkdir(parents=True)
    plan = {"agents": [{"name": "dev", "model_path": str(there)}]}
    (tmp_path / "staged/native/plan.json").write_text(json.dumps(plan))
    users = prune.paths_of_plans(tmp_path, staged=tmp_path / "staged")
    assert prune.unused(place, users, keep_earlier=False) == []
    role = yaml.safe_load((ROOT / "roles/agents/vars/main.yml").read_text())
    assert role["__agents_staged"] == f"{prune.STAGED}/{{{{ agents_plan.runtime }}}}"


def test_prune_keeps_a_draft_and_what_a_plan_names_by_another_path(place, tmp_path):
    there = next(iter(store.stored_models(place))).folder
    (tmp_path / "link").symlink_to(place)
    named = str(tmp_path / "link" / there.relative_to(place))
    for agent in ({"model_path": named}, {"model_path": "/elsewhere", "draft_model_path": str(there)}):
        (tmp_path / "plan.json").write_text(json.dumps({"agents": [{"name": "dev", **agent}]}))
        assert prune.unused(place, prune.paths_of_plans(tmp_path), keep_earlier=False) == []


def test_a_plan_that_cannot_be_read_removes_nothing(tmp_path):
    (tmp_path / "plan.json").write_text("{")
    with refused("plan_unreadable", path=str(tmp_path / "plan.json")):
        prune.paths_of_plans(tmp_path)


def test_an_export_is_a_source_for_a_host_without_a_network(warm, hub, place, tmp_path):
    disk, away = tmp_path / "usb", tmp_path / "away"
    exported = warm.run("export", disk, MODEL, "--store", place, "--json")
    assert exported.returncode == 0, exported.stdout + exported.stderr
    hub.log.clear()
    row = pull_models(FolderSource(disk), away)
    assert verify.verify_all(away, [], quiet())[0]["problems"] == []
    assert not hub.log
    assert row["revision"] == next(iter(store.stored_models(place))).folder.name
    with refused("model_not_in_source", model="lab/none", revision="main"):
        pull_models(FolderSource(disk), away, "lab/none")
    with refused("source_not_found", source=str(tmp_path / "unmounted")):
        FolderSource(tmp_path / "unmounted")


def put_result(place, key="a" * 40):
    """Copy the store's model to the path of a quantized model with its card, like pipeline.quantize."""
    held = store.manifests(place, MODEL)[0]
    folder = place / "quantized/small-fp8" / key
    shutil.copytree(store.folder(place, MODEL, held.revision), folder)
    (folder / "README.md").write_text("# a card")
    files = [File(one.path, one.size, one.checksum) for one in held.files]
    digest = hashlib.sha256(b"# a card").hexdigest()
    made = manifest.Manifest(
        "quantized/small-fp8", key, [*files, File("README.md", 8, f"sha256:{digest}")], asked="main", source="here"
    )
    for file in made.files:
        assert made.is_good(folder, file)
    made.write(folder)
    return folder


def test_an_export_takes_results_and_drafts_and_no_base_of_a_result(hub, place, tmp_path):
    result, disk, away = put_result(place), tmp_path / "usb", tmp_path / "away"
    draft = pull_models(Hub(hub.url), place, "lab/other")
    hub.log.clear()
    agent = {"name": "dev", "model": "lab/base", "revision": "b" * 40, "model_path": str(result), "quantize": "fp8"}
    agent |= {"draft_model": "lab/other", "draft_revision": draft["revision"]}
    requests = planned.to_export([agent], place)
    assert [request.model for request in requests] == ["quantized/small-fp8", "lab/other"]
    assert all(planned.is_in(place, request) for request in requests)
    pull.Pull(disk, FolderSource(place), quiet()).run(requests)
    # The plan of a host without a network names the same path in its own store.
    there = agent | {"model_path": str(away / result.relative_to(place))}
    requests = planned.to_pull([there], away, FolderSource(disk))
    pull.Pull(away, FolderSource(disk), quiet()).run(requests)
    assert quantized.to_make([{"path": there["model_path"]}]) == []
    assert (away / result.relative_to(place) / "README.md").read_text() == "# a card"
    assert not hub.log
    # Without the quantized model the base is needed; the hub is not asked for a quantized model.
    other = there | {"model_path": str(away / "quantized/small-fp8" / ("c" * 40))}
    assert [request.model for request in planned.to_pull([other], away, FolderSource(disk))] == [
        "lab/base",
        "lab/other",
    ]
    assert [request.model for request in planned.to_pull([other], away, Hub(hub.url))] == ["lab/base", "lab/other"]
    assert not hub.log


def test_the_role_takes_the_results_that_the_source_has_and_skips_the_others(hub, place, tmp_path):
    result, away = put_result(place), tmp_path / "away"
    given = {"required_models": [], "store": str(away), "source": str(place), "files_at_once": 4, **QUIET}
    results = [
        {"path": str(away / result.relative_to(place))},
        {"path": str(away / f"quantized/small-int8/{'c' * 40}")},
    ]
    done = pull_module.pull_models(given | {"results": results})
    assert (done["changed"], [row["path"] for row in done["models"]]) == (True, [results[0]["path"]])
    again = pull_module.pull_models(given | {"results": results[:1], "source": str(tmp_path)})  # no new request
    assert (again["changed"], again["models"]) == (False, [])
    with refused("files_at_once_invalid", value=0):
        pull_module.pull_models(given | {"files_at_once": 0})


def test_a_damaged_disk_is_detected(hub, place, tmp_path):
    path = next(iter(store.stored_models(place))).folder / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with refused("checksum_mismatch", source=str(place), path=path.name):
        pull_models(FolderSource(place), tmp_path / "away")
    path.write_bytes(path.read_bytes()[:-1])
    with refused("source_incomplete", path=str(path), model=MODEL):
        pull_models(FolderSource(place), tmp_path / "away")


@pytest.fixture
def shared(place, tmp_path):
    """Serve the store like another host of the inventory."""
    current, port = tmp_path / "offer", free_port()
    standing = threading.Thread(target=peer_server.serve, args=(place, port, "a-token-of-this-run", current))
    standing.start()
    try:
        until(lambda: takes_connections(port))  # the file exists before that
        yield f"http://127.0.0.1:{port}"
    finally:
        peer_server.stop(current)
        standing.join(TIMEOUT_SECONDS)
    assert not standing.is_alive()


def takes_connections(port):
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0


def test_another_hosts_store_is_a_source_for_a_request_with_the_token(place, shared, tmp_path, monkeypatch):
    away = tmp_path / "away"
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with refused("model_not_found", model=MODEL):
        pull_models(Hub(shared), away)
    monkeypatch.setenv("HF_TOKEN", "a-token-of-this-run")
    row = pull_models(Hub(shared), away)
    assert verify.verify_all(away, [], quiet())[0]["problems"] == []
    assert row["revision"] == next(iter(store.stored_models(place))).folder.name


@pytest.fixture(scope="session")
def failing_disk(tmp_path_factory):
    """Return a function that runs the command while reads of the named files fail with EIO."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        pytest.skip("C compiler not found; install gcc to build the failing disk")
    library = tmp_path_factory.mktemp("disk") / "failing_disk.so"
    source = ROOT / "tests/unit/failing_disk.c"
    subprocess.run([compiler, "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    with Warm(LD_PRELOAD=str(library)) as started:
        yield lambda path, *words: started.run(*words, FAILING_PATH=path)


def test_a_manifest_that_the_other_host_cannot_read_is_named(place, shared, tmp_path, monkeypatch):
    path = next(iter(store.stored_models(place))).folder / manifest.NAME
    path.write_text("{")
    monkeypatch.setenv("HF_TOKEN", "a-token-of-this-run")
    with refused("shared_manifest_unreadable", status=422, model=MODEL) as error:
        pull_models(Hub(shared), tmp_path / "away")
    assert error.value.fields["reason"].startswith(f"{path} cannot be read")


def test_verify_reads_everything_and_its_exit_status_is_the_result(warm, place):
    assert warm.run("verify", "--store", place).returncode == 0
    path = next(iter(store.stored_models(place))).folder / "config.json"
    path.write_text("{}")
    damaged = warm.run("verify", "--store", place, "--json")
    assert damaged.returncode == 1
    (error,) = json.loads(damaged.stdout)["errors"]
    assert error["message"] == f"{path} is damaged: roundhouse pull fetches it."
    (row,) = json.loads(warm.run("models", "--store", place, "--json").stdout)["models"]
    assert row["verified_at"] is None


def test_verify_reports_that_there_is_nothing_to_verify(warm, hub, place, tmp_path):
    empty = warm.run("verify", "--store", tmp_path / "none")
    assert (empty.returncode, empty.stderr) == (
        1,
        f"{tmp_path}/none has no models to verify. Name another store with --store.\n",
    )
    held = next(iter(store.stored_models(place)))
    for name in ("lab/none", f"{MODEL}@{'0' * 40}"):
        absent = warm.run("verify", name, "--store", place)
        assert (absent.returncode, absent.stderr.startswith(f"{name} is not in {place}. ")) == (1, True)
    (held.folder / manifest.NAME).unlink()
    (place / "lab/other" / ("1" * 40)).mkdir(parents=True)
    without = warm.run("verify", "--store", place, "--json")
    told = [error["message"] for error in json.loads(without.stdout)["errors"]]
    assert without.returncode == 1
    assert [line.partition(" has no manifest")[0] for line in told] == [
        f"{place}/lab/other/{'1' * 40}",
        str(held.folder),
    ]
    assert pull_models(Hub(hub.url), place)["fetched"] == []  # all files exist: they are hashed and get a new manifest
    assert warm.run("verify", MODEL, "--store", place).returncode == 0


def test_verify_reads_the_revision_that_is_named(warm, hub, place):
    first = next(iter(store.stored_models(place))).folder
    hub.repositories.move(MODEL, lambda moved: (moved / "config.json").write_text("{}"))
    second = pull_models(Hub(hub.url), place)["revision"]
    (first / "config.json").write_text("damaged")
    assert warm.run("verify", f"{MODEL}@{second}", "--store", place).returncode == 0
    assert warm.run("verify", f"{MODEL}@{first.name}", "--store", place).returncode == 1
    assert warm.run("verify", MODEL, "--store", place).returncode == 1


def test_a_failing_disk_is_named_with_its_store(hub, place, tmp_path, failing_disk):
    path = next(iter(store.stored_models(place))).folder / "model.safetensors"
    done = failing_disk(path, "verify", "--store", place)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert " ".join(done.stdout.split()) == (
        f"{path} cannot be read (Input/output error); check its disk: roundhouse pull fetches it."
    )
    done = failing_disk(path, "pull", MODEL, "--from", place, "--store", tmp_path / "away")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"{path} of the source cannot be read: Input/output error. Check the source's disk."
    )
    part = store.partial(tmp_path / "away", MODEL, path.parent.name) / "model.safetensors.part"
    done = failing_disk(part, "pull", MODEL, "--from", place, "--store", tmp_path / "away")
    assert done.stderr.splitlines()[-1] == (
        f"{part.with_suffix('')} cannot be written: Input/output error. "
        "Check the store's disk; downloaded bytes are kept."
    )
    # A file on a failing disk is fetched again and replaced by a new file.
    done = failing_disk(path, "pull", MODEL, "--store", place, "--from", hub.url)
    assert done.returncode == 0, done.stderr


def test_a_disk_without_locks_is_refused(hub, place, failing_disk):
    lock = place / MODEL / store.LOCK
    done = failing_disk(lock, "pull", MODEL, "--store", place, "--from", hub.url)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1,
        f"{lock} cannot be locked (No locks available). Mount the store's disk with locking enabled.",
    )


def test_an_unreadable_manifest_is_named_and_the_others_are_reported(warm, hub, place, tmp_path):
    other = pull_models(Hub(hub.url), place, "lab/other")["path"]
    folder = store.folder(place, MODEL, store.manifests(place, MODEL)[0].revision)
    path = folder / manifest.NAME
    path.write_text("{")
    for words in (["models"], ["verify"], ["prune", "--yes"]):
        done = warm.run(*words, "--store", place, "--json")
        (error,) = json.loads(done.stdout)["errors"]
        assert (done.returncode, error["message"].startswith(f"{path} cannot be read")) == (1, True)
        told = json.loads(done.stdout)
        assert other in [
            *told.get("removed", []),
            *(f"{place}/{r['model']}/{r['revision']}" for r in told.get("models", [])),
        ]
    assert folder.is_dir()
    with refused("manifest_unreadable", path=str(path)):
        store.manifests(place, MODEL)
    path.unlink()
    assert pull_models(Hub(hub.url), place)["fetched"] == []


def test_a_manifest_that_names_a_path_outside_is_refused(place):
    path = next(iter(store.stored_models(place))).folder / manifest.NAME
    held = json.loads(path.read_text())
    held["files"]["../../escape.json"] = "2 git-sha1:00"
    path.write_text(json.dumps(held))
    with refused("manifest_unreadable") as error:
        manifest.read(path.parent)
    assert "../../escape.json" in error.value.fields["reason"]


def old_layout(place):
    """Rename the store's folder of quantized models to its former name; return a result's new path."""
    result = put_result(place)
    (place / "quantized").rename(place / "quantised")
    return result


def test_a_store_with_the_old_spelling_is_renamed_and_earlier_plans_find_their_models(hub, place, tmp_path):
    result = old_layout(place)
    old = Path(str(result).replace("/quantized/", "/quantised/"))
    required = [{"path": str(result)}]
    assert quantized.to_make(required) == []  # no model is quantized again, before or after the rename
    assert model_state.inspect(str(place), [], [], required)["is_old_layout"]
    (row,) = pull.Pull(tmp_path / "away", FolderSource(place), quiet()).run(planned.results(required))
    assert row["changed"]
    assert [held.model for held in store.manifests(place, "quantized/small-fp8")] == ["quantized/small-fp8"]
    given = {
        "required_models": [],
        "store": str(place),
        "source": str(place),
        "files_at_once": 4,
        "progress_path": None,
    }
    assert [pull_module.pull_models(given)["changed"] for _ in range(2)] == [True, False]
    assert (place / "quantised").readlink() == Path("quantized")
    assert old.resolve() == result.resolve()
    assert quantized.to_make([{"path": str(path)} for path in (result, old)]) == []
    assert [each.model for each in store.stored_models(place)] == [MODEL, "quantized/small-fp8"]
    (tmp_path / "plan.json").write_text(json.dumps({"agents": [{"name": "dev", "model_path": str(old)}]}))
    unused = prune.unused(place, prune.paths_of_plans(tmp_path), keep_earlier=False)
    assert [each.model for each in unused] == [MODEL]


@pytest.mark.parametrize("step", ["before the rename", "before the link"])
def test_a_rename_that_was_killed_is_completed(place, step):
    result = old_layout(place)
    (place / ".quantised.link").symlink_to("quantized")
    if step == "before the link":
        (place / "quantised").rename(place / "quantized")
    assert store_layout.rename(place)
    assert not store_layout.rename(place)
    assert (place / "quantised" / result.relative_to(place / "quantized")).samefile(result)
    assert not (place / ".quantised.link").is_symlink()


def test_a_store_with_both_folders_keeps_both(place):
    old_layout(place)
    put_result(place)
    assert not store_layout.rename(place)
    assert (place / "quantised").is_dir()


def listed(place, tmp_path):
    return prune.unused(place, prune.paths_of_plans(tmp_path), keep_earlier=False)


def test_prune_keeps_a_model_that_a_plan_names_since_it_was_listed(place, tmp_path):
    going, said = listed(place, tmp_path), []
    plan = {"agents": [{"name": "dev", "model_path": str(going[0].folder)}]}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    assert prune.remove(place, going, lambda: listed(place, tmp_path), said.append) == []
    assert going[0].folder.is_dir()
    assert said == [f"{going[0].folder} is kept: a plan or a pull uses it now"]
    (tmp_path / "plan.json").unlink()
    assert prune.remove(place, going, lambda: listed(place, tmp_path), said.append) == going
    assert not going[0].folder.exists()


def test_prune_keeps_a_model_that_a_pull_holds(place, tmp_path):
    going, said = listed(place, tmp_path), []
    with store.locked(place, MODEL, said.append, threading.Event()):
        assert prune.remove(place, going, lambda: listed(place, tmp_path), said.append) == []
    assert going[0].folder.is_dir()
    assert "is kept" in said[0]
