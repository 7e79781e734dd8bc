"""The store's words, and the other places that models come from: a folder, another host's store."""

import hashlib
import json
import shutil
import socket
import subprocess
import threading

import pytest
import yaml
from clock import PATIENCE_SECONDS, until
from faulty_hub import MIB, ROOT, FaultyHub, make_model
from real_gateway import free_port
from warm import Warm

from roundhouse.errors import RoundhouseError
from roundhouse.models import manifest, peer_server, planned, prune, pull, quantized, store, verify
from roundhouse.models.download import Patience
from roundhouse.models.folder_source import FolderSource
from roundhouse.models.hub import Hub
from roundhouse.models.manifest import File
from roundhouse.models.pull_job import Wish
from roundhouse.provision import pull_module
from roundhouse.util.progress import Progress

PATIENCE = Patience(tries=2, first_seconds=0.01)
MODEL = "lab/small"


def quiet():
    return Progress(lambda event: None, 1)


def bring(source, place, model=MODEL, revision="main"):
    return pull.Pull(place, source, quiet(), patience=PATIENCE).run([Wish(model, revision)])[0]


@pytest.fixture
def hub(tmp_path):
    for name in ("small", "other"):
        make_model(tmp_path / "hub" / name, {"model.safetensors": 2 * MIB})
    with FaultyHub(tmp_path / "hub") as running:
        yield running


@pytest.fixture
def place(hub, tmp_path):
    """Return a store with one model."""
    bring(Hub(hub.url), tmp_path / "store")
    return tmp_path / "store"


def test_models_lists_what_is_there_and_prune_asks_first(warm, hub, place):
    listed = warm.run("models", "--store", place)
    assert listed.stdout.splitlines()[1].startswith("lab/small")
    assert "not whole" not in listed.stdout
    (row,) = json.loads(warm.run("models", "--store", place, "--json").stdout)["models"]
    assert (row["model"], row["agents"]) == (MODEL, [])
    assert row["verified_at"]
    refused = warm.run("prune", "--store", place)
    assert (refused.returncode, refused.stderr) == (2, "nothing is removed without a yes: prune --yes.\n")
    assert store.folder(place, MODEL, row["revision"]).is_dir()
    removed = json.loads(warm.run("prune", "--store", place, "--yes", "--json").stdout)["removed"]
    assert removed == [str(store.folder(place, MODEL, row["revision"]))]
    assert not list(store.held(place))


def test_prune_keeps_what_a_plan_names_and_the_revision_before_it(hub, place, tmp_path):
    first = next(iter(store.held(place))).folder
    hub.shelf.move(MODEL, lambda moved: (moved / "config.json").write_text("{}"))
    second = bring(Hub(hub.url), place)["path"]
    other = bring(Hub(hub.url), place, "lab/other")["path"]
    (store.partial(place, "lab/other", "0" * 40)).mkdir()
    plan = {"agents": [{"name": "dev", "model_path": second}, {"name": "po", "model_path": second}]}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    users = prune.paths_of_plans(tmp_path)
    assert users == {second: ["dev", "po"]}
    going = {str(held.folder) for held in prune.needless(place, users, keep_earlier=True)}
    assert going == {other, str(store.partial(place, "lab/other", "0" * 40))}
    going = {str(held.folder) for held in prune.needless(place, users, keep_earlier=False)}
    assert str(first) in going


def test_prune_keeps_what_a_rollback_needs(place, tmp_path):
    there = next(iter(store.held(place))).folder
    (tmp_path / "plan.json").write_text(json.dumps({"agents": [{"name": "dev", "model_path": "/elsewhere"}]}))
    earlier = tmp_path / "plans"
    (earlier / "38e895e9").mkdir(parents=True)
    served = {"agents": [{"name": "dev", "model_path": str(there)}]}
    (earlier / "38e895e9/plan.json").write_text(json.dumps(served))
    users = prune.paths_of_plans(tmp_path, earlier)
    assert users == {"/elsewhere": ["dev"], str(there): ["dev (rollback)"]}
    assert prune.needless(place, users, keep_earlier=False) == []
    assert [held.folder for held in prune.needless(place, prune.paths_of_plans(tmp_path), keep_earlier=False)] == [
        there
    ]


def test_prune_keeps_what_a_play_is_about_to_deploy(place, tmp_path):
    there = next(iter(store.held(place))).folder
    (tmp_path / "staged/native").mkdir(parents=True)
    plan = {"agents": [{"name": "dev", "model_path": str(there)}]}
    (tmp_path / "staged/native/plan.json").write_text(json.dumps(plan))
    users = prune.paths_of_plans(tmp_path, staged=tmp_path / "staged")
    assert prune.needless(place, users, keep_earlier=False) == []
    role = yaml.safe_load((ROOT / "roles/agents/vars/main.yml").read_text())
    assert role["__agents_staged"] == f"{prune.STAGED}/{{{{ agents_plan.runtime }}}}"


def test_prune_keeps_a_draft_and_what_a_plan_names_by_another_path(place, tmp_path):
    there = next(iter(store.held(place))).folder
    (tmp_path / "link").symlink_to(place)
    named = str(tmp_path / "link" / there.relative_to(place))
    for agent in ({"model_path": named}, {"model_path": "/elsewhere", "draft_model_path": str(there)}):
        (tmp_path / "plan.json").write_text(json.dumps({"agents": [{"name": "dev", **agent}]}))
        assert prune.needless(place, prune.paths_of_plans(tmp_path), keep_earlier=False) == []


def test_a_plan_that_cannot_be_read_removes_nothing(tmp_path):
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(RoundhouseError, match="nothing is removed without it"):
        prune.paths_of_plans(tmp_path)


def test_an_export_is_a_source_for_a_host_without_a_network(warm, hub, place, tmp_path):
    disk, away = tmp_path / "usb", tmp_path / "away"
    exported = warm.run("export", disk, MODEL, "--store", place, "--json")
    assert exported.returncode == 0, exported.stdout + exported.stderr
    hub.log.clear()
    row = bring(FolderSource(disk), away)
    assert verify.all_of(away, [], quiet())[0]["problems"] == []
    assert not hub.log
    assert row["revision"] == next(iter(store.held(place))).folder.name
    with pytest.raises(RoundhouseError, match="holds no lab/none for 'main': export it there"):
        bring(FolderSource(disk), away, "lab/none")
    with pytest.raises(RoundhouseError, match="mend models_source"):
        FolderSource(tmp_path / "unmounted")


def put_result(place, key="a" * 40):
    """Put the model of the store under the name of a result too, as quantize.make does, with its card."""
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
    draft = bring(Hub(hub.url), place, "lab/other")
    hub.log.clear()
    agent = {"name": "dev", "model": "lab/base", "revision": "b" * 40, "model_path": str(result), "quantize": "fp8"}
    agent |= {"draft_model": "lab/other", "draft_revision": draft["revision"]}
    wishes = planned.to_export([agent], place)
    assert [wish.model for wish in wishes] == ["quantized/small-fp8", "lab/other"]
    assert all(planned.is_in(place, wish) for wish in wishes)
    pull.Pull(disk, FolderSource(place), quiet()).run(wishes)
    # The host without a network: its plan names the same path in its own store.
    there = agent | {"model_path": str(away / result.relative_to(place))}
    wishes = planned.to_pull([there], away, FolderSource(disk))
    pull.Pull(away, FolderSource(disk), quiet()).run(wishes)
    assert quantized.to_make([{"path": there["model_path"]}]) == []
    assert (away / result.relative_to(place) / "README.md").read_text() == "# a card"
    assert not hub.log
    # Without the result the base is wanted; a hub is not asked for a result.
    other = there | {"model_path": str(away / "quantized/small-fp8" / ("c" * 40))}
    assert [wish.model for wish in planned.to_pull([other], away, FolderSource(disk))] == [
        "lab/base",
        "lab/other",
    ]
    assert [wish.model for wish in planned.to_pull([other], away, Hub(hub.url))] == ["lab/base", "lab/other"]
    assert not hub.log


def test_the_role_takes_a_result_where_the_source_has_it_and_passes_over_what_it_has_not(hub, place, tmp_path):
    result, away = put_result(place), tmp_path / "away"
    given = {"wishes": [], "store": str(away), "source": str(place), "files_at_once": 4}
    results = [
        {"path": str(away / result.relative_to(place))},
        {"path": str(away / f"quantized/small-int8/{'c' * 40}")},
    ]
    done = pull_module.bring(given | {"results": results})
    assert (done["changed"], [row["path"] for row in done["models"]]) == (True, [results[0]["path"]])
    again = pull_module.bring(given | {"results": results[:1], "source": str(tmp_path)})  # it is not asked again
    assert (again["changed"], again["models"]) == (False, [])
    with pytest.raises(RoundhouseError, match="models_files_at_once is 0: write a number from 1"):
        pull_module.bring(given | {"files_at_once": 0})


def test_a_damaged_disk_is_found_out(hub, place, tmp_path):
    path = next(iter(store.held(place))).folder / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(RoundhouseError, match="sent wrong bytes twice"):
        bring(FolderSource(place), tmp_path / "away")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RoundhouseError, match=r"has not its \d+ bytes: export lab/small there again"):
        bring(FolderSource(place), tmp_path / "away")


@pytest.fixture
def offered(place, tmp_path):
    """Offer the store as another host of the inventory does."""
    current, port = tmp_path / "offer", free_port()
    standing = threading.Thread(target=peer_server.stand, args=(place, port, "a-token-of-this-run", current))
    standing.start()
    try:
        until(lambda: takes_connections(port))  # the file is there before that
        yield f"http://127.0.0.1:{port}"
    finally:
        peer_server.withdraw(current)
        standing.join(PATIENCE_SECONDS)
    assert not standing.is_alive()


def takes_connections(port):
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0


def test_another_hosts_store_is_a_source_for_who_has_the_token(place, offered, tmp_path, monkeypatch):
    away = tmp_path / "away"
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(RoundhouseError, match="was not found"):
        bring(Hub(offered), away)
    monkeypatch.setenv("HF_TOKEN", "a-token-of-this-run")
    row = bring(Hub(offered), away)
    assert verify.all_of(away, [], quiet())[0]["problems"] == []
    assert row["revision"] == next(iter(store.held(place))).folder.name


@pytest.fixture(scope="session")
def failing_disk(tmp_path_factory):
    """Return a function that runs the command where reads of the files of that name end with EIO."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        pytest.skip("no C compiler builds the disk that fails here: install gcc")
    library = tmp_path_factory.mktemp("disk") / "failing_disk.so"
    source = ROOT / "tests/unit/failing_disk.c"
    subprocess.run([compiler, "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    with Warm(LD_PRELOAD=str(library)) as started:
        yield lambda path, *words: started.run(*words, FAILING_PATH=path)


def test_a_manifest_that_the_other_host_cannot_read_is_named(place, offered, tmp_path, monkeypatch):
    path = next(iter(store.held(place))).folder / manifest.NAME
    path.write_text("{")
    monkeypatch.setenv("HF_TOKEN", "a-token-of-this-run")
    with pytest.raises(RoundhouseError) as told:
        bring(Hub(offered), tmp_path / "away")
    assert f"answers 422 ({path} cannot be read" in told.value.message
    assert told.value.message.endswith(f"for {MODEL}: mend it there.")


def test_verify_reads_everything_and_its_exit_status_says_so(warm, place):
    assert warm.run("verify", "--store", place).returncode == 0
    path = next(iter(store.held(place))).folder / "config.json"
    path.write_text("{}")
    damaged = warm.run("verify", "--store", place, "--json")
    assert damaged.returncode == 1
    (error,) = json.loads(damaged.stdout)["errors"]
    assert error["message"] == f"{path} is damaged: roundhouse pull fetches it."
    (row,) = json.loads(warm.run("models", "--store", place, "--json").stdout)["models"]
    assert row["verified_at"] is None


def test_where_there_is_nothing_to_verify_it_says_so(warm, hub, place, tmp_path):
    empty = warm.run("verify", "--store", tmp_path / "none")
    assert (empty.returncode, empty.stderr) == (
        1,
        f"{tmp_path}/none holds no models, so there is nothing to verify: see --store.\n",
    )
    held = next(iter(store.held(place)))
    for name in ("lab/none", f"{MODEL}@{'0' * 40}"):
        absent = warm.run("verify", name, "--store", place)
        assert (absent.returncode, absent.stderr.startswith(f"{name} is not in {place}: ")) == (1, True)
    (held.folder / manifest.NAME).unlink()
    (place / "lab/other" / ("1" * 40)).mkdir(parents=True)
    without = warm.run("verify", "--store", place, "--json")
    told = [error["message"] for error in json.loads(without.stdout)["errors"]]
    assert without.returncode == 1
    assert [line.partition(" has no manifest")[0] for line in told] == [
        f"{place}/lab/other/{'1' * 40}",
        str(held.folder),
    ]
    assert bring(Hub(hub.url), place)["fetched"] == []  # it is all there: it is hashed, and told by a manifest again
    assert warm.run("verify", MODEL, "--store", place).returncode == 0


def test_verify_reads_the_revision_that_is_named(warm, hub, place):
    first = next(iter(store.held(place))).folder
    hub.shelf.move(MODEL, lambda moved: (moved / "config.json").write_text("{}"))
    second = bring(Hub(hub.url), place)["revision"]
    (first / "config.json").write_text("damaged")
    assert warm.run("verify", f"{MODEL}@{second}", "--store", place).returncode == 0
    assert warm.run("verify", f"{MODEL}@{first.name}", "--store", place).returncode == 1
    assert warm.run("verify", MODEL, "--store", place).returncode == 1


def test_a_disk_that_fails_is_named_and_whose_it_is(hub, place, tmp_path, failing_disk):
    path = next(iter(store.held(place))).folder / "model.safetensors"
    done = failing_disk(path, "verify", "--store", place)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert done.stdout == (
        f"{path} cannot be read (Input/output error), see to its disk: roundhouse pull fetches it.\n"
    )
    done = failing_disk(path, "pull", MODEL, "--from", place, "--store", tmp_path / "away")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"{path}, where models come from, cannot be read: Input/output error. See to that disk."
    )
    part = store.partial(tmp_path / "away", MODEL, path.parent.name) / "model.safetensors.part"
    done = failing_disk(part, "pull", MODEL, "--from", place, "--store", tmp_path / "away")
    assert done.stderr.splitlines()[-1] == (
        f"{part.with_suffix('')} cannot be written: Input/output error. See to that disk; what came is kept."
    )
    # What a failing disk holds is fetched again, and the file that is put in its place is another.
    done = failing_disk(path, "pull", MODEL, "--store", place, "--from", hub.url)
    assert done.returncode == 0, done.stderr


def test_a_disk_without_locks_is_refused(hub, place, failing_disk):
    lock = place / MODEL / store.LOCK
    done = failing_disk(lock, "pull", MODEL, "--store", place, "--from", hub.url)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1,
        f"{lock} cannot be locked (No locks available): mount the store's disk with locks.",
    )


def test_a_manifest_that_cannot_be_read_is_named_and_the_others_are_told(warm, hub, place, tmp_path):
    other = bring(Hub(hub.url), place, "lab/other")["path"]
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
    with pytest.raises(RoundhouseError, match="cannot be read"):
        store.manifests(place, MODEL)
    path.unlink()
    assert bring(Hub(hub.url), place)["fetched"] == []


def test_a_manifest_that_names_a_path_outside_is_refused(place):
    path = next(iter(store.held(place))).folder / manifest.NAME
    held = json.loads(path.read_text())
    held["files"]["../../escape.json"] = "2 git-sha1:00"
    path.write_text(json.dumps(held))
    with pytest.raises(RoundhouseError, match=r"\.\./\.\./escape\.json"):
        manifest.read(path.parent)
