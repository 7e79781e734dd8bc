"""A failed pull is recorded in its store and reported later."""

import json
import time

import pytest
from faulty_hub import MIB, Fault, FaultyHub, make_model
from refusal import refused

from roundhouse.checkup import checkup
from roundhouse.models import pull, pull_job, store
from roundhouse.models.hub import Hub
from roundhouse.models.pull_job import PullRequest
from roundhouse.models.retry import Retry
from roundhouse.util import progress

RETRY = Retry(tries=2, first_seconds=0.01, longest_seconds=0.02)
PLAN = {"agents": [{"name": "dev", "model": "lab/small"}]}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    make_model(tmp_path / "hub/small", {"model.safetensors": MIB})
    make_model(tmp_path / "hub/other", {"model.safetensors": MIB})
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with FaultyHub(tmp_path / "hub") as running:
        yield running


def pull_models(hub, place, *models):
    quiet = progress.Progress(lambda event: None, 60)
    return pull.Pull(place, Hub(hub.url), quiet, retry=RETRY).run([PullRequest(model, "main") for model in models])


def found(place):
    return [*checkup._pulls(PLAN | {"models_store": str(place)})]


def test_a_failed_pull_is_a_finding_until_one_succeeds(hub, tmp_path):
    hub.faults = [Fault("status", r".*small.*safetensors", times=99, code=503)]
    with refused("download_failed", tries=2):
        pull_models(hub, tmp_path / "store", "lab/small", "lab/other")
    (finding,) = found(tmp_path / "store")  # the other model is complete
    assert (finding.code, finding.agent) == ("download_failed", "dev")
    assert "pull of lab/small at 2" in finding.evidence
    assert "failed 2 times in a row: " in finding.evidence
    assert finding.evidence.endswith("[download_failed]")
    hub.faults = []
    pull_models(hub, tmp_path / "store", "lab/small")
    assert found(tmp_path / "store") == []


def test_an_ended_pull_is_a_finding_and_a_running_one_is_not(tmp_path):
    place = tmp_path / "store"
    (place / "lab/small").mkdir(parents=True)
    (place / "lab/small" / pull_job.RECORD).write_text(json.dumps({"began": time.time(), "error": None}))
    (finding,) = found(place)
    assert (finding.code, finding.agent) == ("download_failed", "dev")
    assert "it was interrupted, for example by a signal" in finding.evidence
    with store.locked(place, "lab/small", print, None):
        assert found(place) == []


def test_another_cause_is_named_and_without_a_plan_the_hosts(tmp_path, monkeypatch):
    (tmp_path / "lab/small").mkdir(parents=True)
    told = {"began": 0, "error": "lab/small is gated on huggingface.co.", "code": "model_gated"}
    (tmp_path / "lab/small" / pull_job.RECORD).write_text(json.dumps(told))
    monkeypatch.setattr(checkup, "_STORE", str(tmp_path))
    (finding,) = checkup._pulls(None)
    assert (finding.code, finding.agent) == ("model_locked", None)
