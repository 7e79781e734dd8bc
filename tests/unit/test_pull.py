"""Pulls with the real client from a loopback hub: a model is complete and equal to the hub's, or missing."""

import json
import os
import re
import signal
import subprocess
import sys
import types

import pytest
from clock import TIMEOUT_SECONDS, until
from faulty_hub import MIB, ROOT, TOKEN, Fault, FaultyHub, make_model
from pulling import (
    FETCHED,
    MODEL,
    WEIGHTS,
    Notes,
    bytes_kept,
    failed,
    folder,
    has_no_complete_model,
    is_whole,
    pull_models,
    replace_last_byte,
    words,
)
from refusal import refused

from roundhouse.models import hub as models_hub
from roundhouse.models import lock as models_lock
from roundhouse.models import manifest, store, verify
from roundhouse.models.hub import Hub
from roundhouse.models.manifest import as_json
from roundhouse.models.pull_job import PullRequest

pytest_plugins = ("pulling",)  # the fixtures hub, place and command


def test_a_pull_downloads_only_the_files_that_an_engine_needs(hub, place):
    (row,) = pull_models(hub, place)
    assert row["changed"] is True
    assert set(row["fetched"]) == FETCHED
    assert is_whole(hub, place)
    assert not [sent for sent in hub.log if "pytorch" in sent.path or "modeling" in sent.path]


def test_the_second_run_asks_for_no_bytes_and_none_at_all_with_the_hub_off(hub, place):
    (first,) = pull_models(hub, place)
    hub.log.clear()
    (again,) = pull_models(hub, place)
    assert again["changed"] is False
    assert {sent.path.split("/")[1] for sent in hub.log} == {"api"}
    locked = PullRequest(MODEL, first["revision"], "main", hub.repositories.files(MODEL, first["revision"]))
    hub.shutdown()
    hub.server_close()
    wanted = locked._replace(files=[file for file in locked.files if file.path in FETCHED])
    assert pull_models(hub, place, wanted)[0]["changed"] is False


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault("status", "resolve.*00001", times=2, code=503), "answered 503; retry in"),
        (Fault("status", "resolve.*00001", times=2, code=429, wait=0), "answered 429; retry in 0 s"),
        (Fault("status", "/revision/main", times=2, code=503), "answered 503; retry in"),
        (Fault("status", "/tree/", times=1, code=502), "is complete"),
        (Fault("cut", "00001", times=2, after=1_500_000), "retry in"),
        (Fault("short", "00001", times=1, by=100_000), "the body ended after"),
        (Fault("wrong", "00001", times=1), "checksum mismatch with"),
        (Fault("wrong", "config.json", times=1), "checksum mismatch with"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.kind}-{value.path}",
)
def test_a_transient_fault_is_retried_until_the_model_is_complete(hub, place, fault, said):
    notes = Notes()
    hub.faults.append(fault)
    pull_models(hub, place, notes=notes)
    assert fault.times == 0
    assert said in notes.text()
    assert is_whole(hub, place)


def test_a_long_wait_before_the_first_byte_is_reported(hub, place):
    notes = Notes()
    hub.faults += [Fault("slow", "/revision/main", wait=0.5), Fault("slow", "/tree/", wait=0.5)]
    pull_models(hub, place, notes=notes)
    said = [event["text"] for event in notes.events if event["event"] == "doing"]
    assert len(said) > 5
    assert has_seconds(said, f"resolving {MODEL} at main on {Hub(hub.url).name}")
    hub.faults += [Fault("status", "/revision/main", code=503, wait=1)]
    pull_models(hub, place, notes=(waiting := Notes()))
    said = [event["text"] for event in waiting.events if event["event"] == "doing"]
    assert has_seconds(said, f"{MODEL}: {Hub(hub.url).name} answered 503; retry in 1 s (1 of 4)")


def has_seconds(said, text):
    """Return true if a line is the text with elapsed seconds above 0."""
    return any(re.fullmatch(rf"{re.escape(text)} \([1-9]\d* s\)", line) for line in said)


def test_a_cut_connection_resumes_where_it_ended(hub, place):
    hub.faults += [Fault("cut", "00001", times=1, after=2_000_000)]
    pull_models(hub, place)
    starts = [sent.start for sent in hub.log if "00001" in sent.path and sent.method == "GET"]
    assert starts[0] == 0
    assert 900_000 < starts[1] <= 2_000_000
    assert is_whole(hub, place)


def test_a_hub_that_ignores_ranges_is_read_from_the_start(hub, place):
    hub.faults += [Fault("cut", "00001", times=1, after=2_000_000), Fault("no_ranges", "00001", times=1)]
    pull_models(hub, place)
    assert is_whole(hub, place)


@pytest.mark.parametrize(
    ("fault", "code", "field", "value"),
    [
        (Fault("status", "resolve.*00001", times=99, code=503), "download_failed", "what", f"{MODEL} {WEIGHTS}"),
        (Fault("status", "/revision/", times=99, code=503), "hub_unreachable", "what", MODEL),
        (Fault("cut", "00001", times=99, after=0), "download_failed", "tries", 4),
        (Fault("short", "00001", times=99, by=3 * MIB), "download_failed", "tries", 4),
        (Fault("wrong", "00001", times=99), "checksum_mismatch", "path", WEIGHTS),
        (Fault("status", "/revision/", times=99, code=401), "hub_token_invalid", "status", 401),
        (Fault("status", "resolve.*00001", times=99, code=403), "hub_access_denied", "status", 403),
        (Fault("status", "/revision/", times=99, code=400), "hub_request_failed", "status", 400),
        (Fault("page", "/revision/", times=99), "hub_unexpected_response", "model", MODEL),
        (Fault("page", "/tree/", times=99), "hub_unexpected_response", "model", MODEL),
        (Fault("page", "resolve.*00001", times=99), "hub_unexpected_response", "model", MODEL),
    ],
    ids=lambda value: getattr(value, "kind", str(value)),
)
def test_a_permanent_fault_ends_with_an_error_and_no_model(hub, place, fault, code, field, value):
    hub.faults.append(fault)
    error = failed(hub, place)
    assert (error.code, error.fields[field]) == (code, value)
    assert has_no_complete_model(place)
    hub.faults.clear()
    pull_models(hub, place)
    assert is_whole(hub, place)


def test_a_hub_that_names_endless_empty_pages_is_an_error(hub, place):
    hub.faults = [Fault("empty", "/tree/", times=100_000)]
    error = failed(hub, place)
    assert (error.code, error.fields["model"], error.fields["pages"]) == ("hub_listing_endless", MODEL, 400)
    assert has_no_complete_model(place)
    hub.faults.clear()
    pull_models(hub, place)
    assert is_whole(hub, place)


@pytest.mark.parametrize("part", ["head", "body"])
def test_a_hub_that_sends_one_page_slowly_is_an_error(hub, place, monkeypatch, part):
    monkeypatch.setattr(models_hub, "_LISTING_SECONDS", 0.5)
    hub.faults = [Fault(f"drip_{part}", "/tree/")]
    assert failed(hub, place).code == "hub_listing_endless"
    assert has_no_complete_model(place)


def test_a_hub_that_sends_a_revision_slowly_is_asked_again(hub, place, monkeypatch):
    monkeypatch.setattr(models_hub, "_ANSWER_SECONDS", 0.5)
    hub.faults = [Fault("drip_head", "/revision/")]
    pull_models(hub, place)
    assert is_whole(hub, place)


@pytest.mark.parametrize("how", ["flood", "compressed"])
def test_a_page_cannot_fill_the_memory(hub, place, how):
    hub.faults = [Fault(how, "/tree/")]
    assert failed(hub, place).code == "hub_unexpected_response"
    assert has_no_complete_model(place)


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("HF_HUB_OFFLINE", "1", "hub_offline"),
        ("HF_ENDPOINT", "127.0.0.1:9", "hub_endpoint_invalid"),
        ("HF_ENDPOINT", "http://[bad", "hub_endpoint_invalid"),
    ],
)
def test_an_unsuitable_environment_is_one_error(hub, place, name, value, code):
    # The client reads its variables at its import.
    program = [sys.executable, ROOT / "scripts/switch.py", *words(place), "--json"]
    environment = os.environ | {"HF_ENDPOINT": hub.url, name: value}
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode != 0, "Traceback" in done.stderr) == (True, False)
    (error,) = json.loads(done.stdout)["errors"]
    assert error["code"] == code


def test_a_gated_model_is_refused_before_the_first_byte(hub, place, monkeypatch):
    hub.gated.add(MODEL)
    error = failed(hub, place)
    assert (error.code, error.fields["model"], error.fields["hub"]) == ("model_gated", MODEL, Hub(hub.url).name)
    assert "models_token" in error.remedy
    assert hub.sent_bytes() == 0
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    pull_models(hub, place)
    assert is_whole(hub, place)


def test_a_token_in_a_block_of_yaml_is_read_and_an_invalid_one_is_not_shown(hub, place, monkeypatch):
    hub.gated.add(MODEL)
    monkeypatch.setenv("HF_TOKEN", "hf_no token")
    with refused("hub_token_malformed") as error:
        Hub(hub.url)
    assert "hf_no" not in json.dumps(error.value.as_json())
    monkeypatch.setenv("HF_TOKEN", f"{TOKEN}\n")
    pull_models(hub, place)
    assert is_whole(hub, place)


def test_an_invalid_commit_of_the_hub_is_refused(hub, place, monkeypatch):
    client = Hub(hub.url)
    monkeypatch.setattr(
        client, "_api", types.SimpleNamespace(model_info=lambda *a, **k: types.SimpleNamespace(sha="../x"))
    )
    with refused("hub_unexpected_response"):
        client.resolve(MODEL, "main")


def test_another_server_that_the_hub_names_gets_no_token(hub, place, monkeypatch):
    """The public hub redirects large files; this also works for a download that resumes at a byte."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.private.add(MODEL)
    with FaultyHub(hub.repositories.root) as other:
        hub.elsewhere = other.url
        other.faults.append(Fault("cut", "00001", after=2_000_000))
        pull_models(hub, place)
        assert {sent.token for sent in hub.log} == {TOKEN}
        assert {sent.token for sent in other.log} == {None}
        assert {sent.path.rpartition("/")[2] for sent in other.log} == {name for name in FETCHED if "model-" in name}
        assert [sent.start > 0 for sent in other.log if "00001" in sent.path] == [False, True]
    assert is_whole(hub, place)


def test_a_private_model_wants_a_token_and_an_absent_one_is_named(hub, place, monkeypatch):
    hub.private.add(MODEL)
    for model in (MODEL, "lab/none"):
        error = failed(hub, place, PullRequest(model, "main"))
        assert (error.code, error.fields["model"]) == ("model_not_found", model)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    pull_models(hub, place)
    assert is_whole(hub, place)


def test_an_unknown_revision_is_named(hub, place):
    error = failed(hub, place, PullRequest(MODEL, "v9"))
    assert (error.code, error.fields["revision"]) == ("revision_not_found", "v9")


def test_a_repository_of_pickles_is_refused(hub, place):
    for name in FETCHED:
        if name.endswith(".safetensors"):
            (hub.repositories.folder(MODEL) / name).unlink()
    assert failed(hub, place).code == "no_safetensors"
    assert hub.sent_bytes() == 0


def test_an_incomplete_repository_is_not_published_and_the_others_are(hub, place):
    make_model(hub.repositories.root / "other", {"model.safetensors": MIB})
    index = hub.repositories.folder(MODEL) / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"t": "gone.safetensors"}}')
    error = failed(hub, place, PullRequest(MODEL, "main"), PullRequest("lab/other", "main"))
    assert (error.code, error.fields["model"]) == ("model_incomplete", MODEL)
    assert "gone.safetensors is missing" in error.fields["problem"]
    assert [held.model for held in store.stored_models(place) if held.manifest] == ["lab/other"]


def test_a_disk_that_is_too_small_is_named_with_both_numbers_before_the_first_byte(hub, place, monkeypatch):
    monkeypatch.setattr(store, "free_bytes", lambda place: 2 * MIB)
    error = failed(hub, place)
    assert (error.code, error.fields["free_bytes"]) == ("disk_full", 2 * MIB)
    assert error.message.startswith(f"{place} has 0.00 GiB free but needs 0.01 GiB ({MODEL} at ")
    assert hub.sent_bytes() == 0


def test_two_revisions_resume_each_where_its_own_run_ended(hub, place):
    """Two revisions in one run are not leftovers of each other."""
    first = hub.repositories.revision(MODEL, "main")
    hub.repositories.move(MODEL, lambda moved: replace_last_byte(moved / WEIGHTS))
    second = hub.repositories.revision(MODEL, "main")
    both = [PullRequest(MODEL, first, first), PullRequest(MODEL, second, second)]
    for cut in (both, both[:1], both[1:]):
        names = [f"{one.revision}/model-0000{number}" for one in cut for number in (1, 2)]
        hub.faults = [Fault("cut", name, after=800_000) for name in names] + [Fault("cut", "safetensors", 99, after=0)]
        error = failed(hub, place, *cut, workers=4)
        assert error.code == "pull_failed"
        assert {each["code"] for each in error.fields["errors"]} == {"download_failed"}
    before = hub.out
    hub.faults = []
    assert [row["changed"] for row in pull_models(hub, place, *both)] == [True, True]
    assert hub.out - before < 4 * 3 * MIB - 2 * 4 * 700_000
    assert not list(place.glob("*/*/*.partial"))


def test_a_moved_branch_leaves_no_partial_model(hub, place):
    hub.faults = [Fault("cut", "00001", after=1_000_000), Fault("cut", "00001", times=99, after=0)]
    failed(hub, place)
    left = store.partial(place, MODEL, hub.repositories.revision(MODEL, "main"))
    assert left.is_dir()
    hub.faults = []
    hub.repositories.move(MODEL, lambda moved: (moved / "config.json").write_text("{}"))
    pull_models(hub, place)
    assert not left.exists()


def test_a_revision_under_two_names_is_fetched_once(hub, place):
    revision = hub.repositories.revision(MODEL, "main")
    rows = pull_models(hub, place, PullRequest(MODEL, "main"), PullRequest(MODEL, revision, revision), workers=8)
    assert [(row["revision"], row["changed"]) for row in rows] == [(revision, True)] * 2
    assert hub.sent_bytes() == sum(file.stat().st_size for file in folder(hub, place).glob("[!.]*"))
    assert is_whole(hub, place)


def test_a_hidden_file_of_the_repository_is_not_downloaded(hub, place):
    for name in (".hidden.json", manifest.NAME):
        (hub.repositories.folder(MODEL) / name).write_text("{}")
    pull_models(hub, place)
    assert is_whole(hub, place)


def test_a_copy_with_other_times_is_read_once(hub, place):
    pull_models(hub, place)
    path = folder(hub, place) / WEIGHTS
    os.utime(path, ns=(0, 0))
    held = manifest.read(path.parent)
    assert not held.is_known_good(path.parent, next(file for file in held.files if file.path == WEIGHTS))
    (row,) = pull_models(hub, place)
    assert (row["changed"], row["fetched"]) == (False, [])
    held = manifest.read(path.parent)
    assert all(held.is_known_good(path.parent, file) for file in held.files)


@pytest.mark.parametrize("damage", ["byte", "cut", "gone", "config"])
def test_a_damaged_file_is_named_and_fetched_alone(hub, place, damage):
    pull_models(hub, place)
    name = "config.json" if damage == "config" else WEIGHTS
    path = folder(hub, place) / name
    stamp = path.stat()
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        os.truncate(path, stamp.st_size - 1)
    else:
        replace_last_byte(path)
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # a bad disk changes bytes, but not the time
    hub.log.clear()
    (row,) = verify.verify_all(place, [], Notes())
    (problem,) = row["problems"]
    assert problem == f"{path} is {'missing' if damage == 'gone' else 'damaged'}: roundhouse pull fetches it."
    (row,) = pull_models(hub, place)
    assert row["fetched"] == [name]
    assert {sent.path.rpartition("/")[2] for sent in hub.log if sent.size} == {name}
    assert is_whole(hub, place)


def test_a_stray_file_is_named(hub, place):
    pull_models(hub, place)
    stray = folder(hub, place) / "more.safetensors"
    stray.write_bytes(b"")
    (row,) = verify.verify_all(place, [], Notes())
    assert row["problems"] == [f"{stray} is not a file of the model: remove it."]


def test_a_branch_that_moved_leaves_the_locked_revision_in_place(hub, place, tmp_path):
    (first,) = pull_models(hub, place)
    lock = tmp_path / "models.lock"
    entry = {"revision": first["revision"], "files": as_json(hub.repositories.files(MODEL, first["revision"]))}
    models_lock.record(lock, {models_lock.key(MODEL, None): entry})
    hub.repositories.move(MODEL, lambda moved: (moved / "config.json").write_text('{"moved": true}'))
    other, (second,) = tmp_path / "other", pull_models(hub, place)
    assert second["revision"] != first["revision"]
    # A host that is added later gets the locked revision, although the branch has moved.
    held = models_lock.read(lock)[models_lock.key(MODEL, "main")]
    (locked,) = pull_models(hub, other, PullRequest(MODEL, held["revision"]))
    assert locked["revision"] == first["revision"]
    assert (store.folder(other, MODEL, first["revision"]) / "config.json").read_text() != '{"moved": true}'
    # The first writer wins; only a relock changes the revision.
    moved = {models_lock.key(MODEL, None): entry | {"revision": second["revision"]}}
    assert models_lock.record(lock, moved) == (models_lock.read(lock), [])
    assert models_lock.record(lock, moved, relock=True)[1] == [f"{MODEL}@main"]
    assert models_lock.read(lock)[f"{MODEL}@main"]["revision"] == second["revision"]


def test_two_runs_at_once_fetch_each_byte_once(hub, place, command):
    hub.pause_after(MIB)
    first = command()
    assert hub.paused.wait(TIMEOUT_SECONDS)
    second = command()
    until(lambda: "waiting for another run (pid " in second.said())
    hub.go_on()
    texts = [run.communicate() for run in (first, second)]
    assert [run.returncode for run in (first, second)] == [0, 0], texts
    assert hub.sent_bytes() == sum(file.stat().st_size for file in folder(hub, place).glob("[!.]*"))
    assert is_whole(hub, place)


def test_an_interrupted_pull_is_reported_and_keeps_its_bytes(hub, place, command):
    hub.pause_after(4 * MIB)
    running = command()
    assert hub.paused.wait(TIMEOUT_SECONDS)
    # Sent bytes may still be in the socket, so the signal waits for bytes on the disk.
    until(lambda: bytes_kept(place) > 2 * MIB)
    running.send_signal(signal.SIGTERM)
    hub.bytes_per_second = MIB / 2  # the client notices the signal at its next chunk
    hub.go_on()
    _, errors = running.communicate()
    assert running.returncode == 130
    assert "Interrupted; what was downloaded is kept." in errors
    assert has_no_complete_model(place)
    hub.log.clear()
    hub.bytes_per_second, kept = None, bytes_kept(place)
    assert kept > 2 * MIB
    assert command().wait() == 0
    assert is_whole(hub, place)
    assert hub.sent_bytes() == sum((folder(hub, place) / name).stat().st_size for name in FETCHED) - kept


@pytest.mark.parametrize("status", [403, 416])
def test_a_refusal_in_the_middle_of_a_file_is_retried(hub, place, status):
    hub.faults += [Fault("cut", "00001", times=1, after=2_000_000), Fault("status", "00001", times=1, code=status)]
    notes = Notes()
    pull_models(hub, place, notes=notes)
    assert f"answered {status} in the middle of a file" in notes.text()
    starts = [sent.start for sent in hub.log if "00001" in sent.path and sent.method == "GET" and sent.size]
    assert (starts[-1] == 0) == (status == 416)  # a range that is refused is not asked for again
    assert is_whole(hub, place)


def test_a_folder_in_a_partial_model_is_removed(hub, place):
    partial = store.partial(place, MODEL, hub.repositories.revision(MODEL, "main"))
    (partial / "cache/huggingface").mkdir(parents=True)
    pull_models(hub, place)
    assert is_whole(hub, place)
