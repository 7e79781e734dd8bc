"""daemon.json is merged: keys of others are kept, and keys of a role can be changed and removed."""

import json

import pytest

from roundhouse.errors import RoundhouseError
from roundhouse.host import docker_config

OURS = {"log-driver": "local", "log-opts": {"max-size": "50m"}, "live-restore": True, "ip": "127.0.0.1"}


def merge(current, noted=None, wanted=None, force=False):
    return docker_config.merge(current, noted or {}, OURS if wanted is None else wanted, force=force)


def test_an_empty_file_gets_the_defaults():
    assert merge({}) == OURS


def test_a_foreign_file_keeps_every_key():
    foreign = {"data-root": "/srv/docker", "ip": "10.0.0.1", "dns": ["9.9.9.9"], "labels": [], "features": {"x": True}}
    merged = merge(foreign)
    assert {key: merged[key] for key in foreign} == foreign
    assert merged["live-restore"] is True


def test_a_foreign_log_driver_gets_no_options():
    assert merge({"log-driver": "journald"}) == {"log-driver": "journald", "live-restore": True, "ip": "127.0.0.1"}


def test_a_mapping_is_merged():
    wanted = {"runtimes": {"nvidia": {"path": "nvidia-container-runtime"}}}
    merged = merge({"runtimes": {"crun": {"path": "crun"}}}, wanted=wanted)
    assert merged == {"runtimes": {"crun": {"path": "crun"}, "nvidia": {"path": "nvidia-container-runtime"}}}


def test_a_forced_value_replaces_a_foreign_one():
    assert merge({"features": {"cdi": False}}, wanted={"features": {"cdi": True}}) == {"features": {"cdi": False}}
    assert merge({"features": {"cdi": False}}, wanted={"features": {"cdi": True}}, force=True) == {
        "features": {"cdi": True}
    }


def test_only_own_values_can_be_changed_later():
    noted = {"ip": "127.0.0.1", "live-restore": True}
    merged = merge({"ip": "127.0.0.1", "live-restore": False}, noted, {"ip": "10.0.0.1", "live-restore": True})
    assert merged == {"ip": "10.0.0.1", "live-restore": False}


def test_an_own_key_is_removed_when_it_is_no_longer_wanted():
    noted = {"features": {"cdi": True}, "debug": True}
    assert merge({"features": {"cdi": True}, "debug": False}, noted, {"ip": "::1"}) == {"debug": False, "ip": "::1"}


def test_merging_twice_changes_nothing():
    once = merge({"dns": ["9.9.9.9"]})
    assert merge(once, OURS) == once


@pytest.mark.parametrize(
    ("before", "after", "action"),
    [
        ({}, {}, "none"),
        ({"debug": True}, {"debug": True}, "none"),
        ({}, {"runtimes": {"nvidia": {}}}, "reload"),
        ({}, {"live-restore": True, "log-driver": "local"}, "restart"),
        ({"ip": "127.0.0.1"}, {}, "restart"),
        ({}, {"features": {"cdi": True}}, "restart"),
    ],
)
def test_docker_is_restarted_only_for_keys_that_a_reload_ignores(before, after, action):
    assert docker_config.required_action(before, after) == action


@pytest.mark.parametrize("text", ["{", "[1]", '{"debug": true,}'])
def test_an_invalid_file_is_refused_with_the_parsers_message(text):
    with pytest.raises(RoundhouseError) as raised:
        docker_config.parse(text)
    assert raised.value.code == "daemon_json_invalid"
    assert raised.value.fields["problem"]


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Redirect the module's paths into a temporary folder."""
    monkeypatch.setattr(docker_config, "PATH", tmp_path / "docker/daemon.json")
    monkeypatch.setattr(docker_config, "NOTES", tmp_path / "notes")
    monkeypatch.setattr(docker_config, "PENDING", tmp_path / "pending")
    (tmp_path / "docker").mkdir()
    return tmp_path


def test_an_invalid_file_is_not_touched(places):
    path = places / "docker/daemon.json"
    path.write_text("{not json")
    with pytest.raises(RoundhouseError) as refused:
        docker_config.plan_merge("container_engine", OURS, force=False)
    assert (refused.value.code, refused.value.fields["path"]) == ("daemon_json_invalid", str(path))
    assert [file.name for file in path.parent.iterdir()] == ["daemon.json"]
    assert path.read_text() == "{not json"


FLAG = {"features": {"cdi": True}}


@pytest.mark.parametrize(
    ("current", "noted", "keys"),
    [
        ({}, {}, FLAG),
        (FLAG, {}, {}),  # of someone else, who has set the same value
        (FLAG, FLAG, FLAG),
        ({"features": {"cdi": False}}, {}, FLAG),
    ],
)
def test_only_keys_that_the_role_sets_are_its_own(current, noted, keys):
    merged = docker_config.merge(current, noted, FLAG, force=True)
    assert docker_config.owned(current, noted, FLAG, merged) == keys


def test_a_key_of_someone_else_with_the_wanted_value_stays_after_a_teardown(places):
    path = places / "docker/daemon.json"
    path.write_text('{"features": {"cdi": true}}')
    planned = docker_config.plan_merge("toolkit", FLAG, force=True)
    assert docker_config.apply_merge("toolkit", planned) == "none"
    assert docker_config.plan_restore() is None
    assert docker_config.noted("toolkit") == {}


@pytest.mark.parametrize(
    ("before", "wanted", "strangers", "refused"),
    [
        ({}, FLAG, ["web"], True),
        ({}, FLAG, [], False),
        ({"live-restore": True}, FLAG, ["web"], False),
        ({}, {**FLAG, "live-restore": True}, ["web"], False),  # a reload precedes the restart
        ({}, {"runtimes": {"nvidia": {}}}, ["web"], False),
        (FLAG, FLAG, ["web"], False),
    ],
)
def test_a_restart_that_stops_containers_of_others_is_refused(places, before, wanted, strangers, refused):
    path = places / "docker/daemon.json"
    path.write_text(json.dumps(before))
    planned = docker_config.plan_merge("toolkit", wanted, force=True)
    try:
        docker_config.require_restart(planned, strangers, live_restore="live-restore" in before)
    except RoundhouseError as error:
        assert (refused, error.code) == (True, "docker_restart_refused")
        assert (error.fields["keys"], error.fields["containers"]) == ("features", "web")
    else:
        assert not refused
    assert json.loads(path.read_text()) == before
