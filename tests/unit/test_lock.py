"""The lock file beside the roster: the revisions that it sets, and the models that a plan then requires."""

import json

import pytest
import yaml
from refusal import refused

from roundhouse.errors import UsageError
from roundhouse.models import lock as models_lock
from roundhouse.paths import CHECKOUT as ROOT
from roundhouse.plan import build as plan_build
from roundhouse.provision import pull_module
from roundhouse.roster import validate

REVISION = "0123456789abcdef0123456789abcdef01234567"
FILES = {"config.json": "663 git-sha1:00", "model.safetensors": "988097824 sha256:00"}


@pytest.fixture
def lock(tmp_path):
    """Return a lock file with the po agent's first model."""
    path = tmp_path / "models.lock"
    models_lock.record(path, {"Qwen/Qwen2.5-7B-Instruct@main": {"revision": REVISION, "files": FILES}})
    return path


def shipped():
    return yaml.safe_load((ROOT / "group_vars/all/agents.yml").read_text())["agents"]


def build(agents):
    return plan_build.build(agents, plan_build.Settings("cpu", "/e", "/srv/m", 1))


def test_a_locked_model_lies_under_its_revision_and_an_unlocked_one_under_its_branch(lock):
    agents = {agent["name"]: agent for agent in build(models_lock.apply(shipped(), lock))["agents"]}
    assert agents["po"]["model_path"] == f"/srv/m/Qwen/Qwen2.5-7B-Instruct/{REVISION}"
    assert agents["po"]["revision"] == REVISION
    assert agents["dev"]["model_path"] == "/srv/m/Qwen/Qwen2.5-Coder-32B-Instruct/main"


def test_a_plan_requires_each_model_once_with_the_locks_files(lock):
    twice = [*shipped(), {**shipped()[2], "name": "qa", "port": 8003}]
    own = {**shipped()[1], "name": "own", "port": 8004, "models": [{"model": "/srv/own"}]}
    required = models_lock.required_models(build(models_lock.apply([*twice, own], lock))["agents"], lock)
    assert [each["model"].partition("/")[2] for each in required] == [
        "Qwen2.5-32B-Instruct",
        "Qwen2.5-Coder-32B-Instruct",
        "Qwen2.5-7B-Instruct",
    ]
    assert required[2] == {
        "model": "Qwen/Qwen2.5-7B-Instruct",
        "revision": REVISION,
        "asked": "main",
        "files": FILES,
        "serves": True,
    }
    assert (required[0]["revision"], required[0]["files"]) == ("main", None)


@pytest.mark.parametrize("agents", [None, "text", [None], [{"models": None}], [{"models": ["text"]}]])
def test_an_invalid_roster_is_left_to_the_rosters_own_check(agents, lock):
    assert models_lock.apply(agents, lock) == agents
    assert list(validate.problems(models_lock.apply(agents, lock)))


def test_a_file_of_a_model_is_a_line_of_the_lock(lock):
    assert '    "config.json": "663 git-sha1:00",\n' in lock.read_text()
    assert json.loads(lock.read_text())["schema"] == 1


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 2, "models": {}}', '{"schema": 1, "models": {"a@b": {}}}'])
def test_an_unreadable_lock_is_named_with_its_remedy(tmp_path, text):
    path = tmp_path / "models.lock"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"models\.lock cannot be read .*\. Restore it from version control"):
        models_lock.read(path)


def test_check_mode_writes_nothing(tmp_path):
    path = tmp_path / "models.lock"
    entry = {"a/b@main": {"revision": REVISION, "files": FILES}}
    assert models_lock.record(path, entry, check=True) == (entry, ["a/b@main"])
    assert not path.exists()


def test_a_lock_with_an_invalid_file_of_a_model_is_refused(tmp_path):
    """An example is a hidden file, which earlier versions locked."""
    required = {"model": "lab/small", "revision": "0" * 40, "asked": "main", "files": {".hidden.json": "2 git-sha1:00"}}
    with refused("lock_entry_invalid", entry="'.hidden.json': '2 git-sha1:00'"):
        pull_module.pull_models(
            {"required_models": [required], "store": str(tmp_path), "source": str(tmp_path), "files_at_once": 1}
        )
