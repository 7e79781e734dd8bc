"""Provide the fixtures of the pull tests: a hub with one small model, an empty store, and the command."""

import pytest
from faulty_hub import MIB, TOKEN, FaultyHub, make_model

from roundhouse.errors import RoundhouseError
from roundhouse.models import manifest, pull, store, verify
from roundhouse.models.hub import Hub
from roundhouse.models.pull_job import PullRequest
from roundhouse.models.retry import Retry
from roundhouse.util import progress

MODEL = "lab/small"
WEIGHTS = "model-00001-of-00002.safetensors"
FETCHED = {
    WEIGHTS,
    "model-00002-of-00002.safetensors",
    "config.json",
    "tokenizer.json",
    "generation_config.json",
    "chat_template.jinja",
}
RETRY = Retry(tries=4, first_seconds=0.01, longest_seconds=0.05)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Run a hub with one model of two files of 3 MiB."""
    make_model(tmp_path / "hub/small", {WEIGHTS: 3 * MIB, "model-00002-of-00002.safetensors": 3 * MIB})
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with FaultyHub(tmp_path / "hub") as running:
        yield running


@pytest.fixture
def place(tmp_path):
    return tmp_path / "store"


class Notes(progress.Progress):
    """Store every event."""

    def __init__(self):
        self.events = []
        super().__init__(self.events.append, 0.05)

    def text(self):
        return "\n".join(event["text"] for event in self.events)


def pull_models(hub, place, *requests, notes=None, **how):
    with notes or Notes() as shown:
        return pull.Pull(place, Hub(hub.url), shown, retry=RETRY, **how).run(requests or [PullRequest(MODEL, "main")])


def failed(hub, place, *requests, **how):
    """Return the error of a pull."""
    with pytest.raises(RoundhouseError) as error:
        pull_models(hub, place, *requests, **how)
    return error.value


def folder(hub, place):
    return store.folder(place, MODEL, hub.repositories.revision(MODEL, "main"))


def is_whole(hub, place):
    """Check the model against the hub's files and by `verify`, and check that there are no leftovers."""
    final = folder(hub, place)
    assert {path.name for path in final.iterdir()} == FETCHED | {manifest.NAME}
    for name in FETCHED:
        assert (final / name).read_bytes() == (hub.repositories.folder(MODEL) / name).read_bytes()
    assert [path.name for path in final.parent.iterdir() if path.name != store.LOCK] == [final.name]
    return verify.verify_all(place, [(MODEL, None)], Notes()) == [
        {"model": MODEL, "revision": final.name, "problems": []}
    ]


def replace_last_byte(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def bytes_kept(place):
    """Return the bytes of the model's files in its partial folder."""
    names = FETCHED | {f"{name}.part" for name in FETCHED}
    return sum(size_of(path) for path in place.rglob("*.partial/*") if path.name in names)


def size_of(path):
    try:
        return path.stat().st_size
    except FileNotFoundError:  # it was renamed after it was listed; the next call counts it
        return 0


def has_no_complete_model(place):
    return not [held for held in store.stored_models(place) if held.manifest]


@pytest.fixture
def command(warm, hub, place):
    """Return a function that starts the command."""
    return lambda: warm.start(*words(place), HF_ENDPOINT=hub.url, HF_TOKEN=TOKEN)


def words(place):
    return ["pull", f"{MODEL}@main", "--store", place]
