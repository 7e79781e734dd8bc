"""HAProxy's configuration follows the deployed plan: written, checked and reloaded where it changed."""

import shutil

import pytest
from real_gateway import Gateway, create_files

from roundhouse.errors import RoundhouseError, UsageError
from roundhouse.gateway import haproxy_config

pytestmark = pytest.mark.skipif(not shutil.which("haproxy"), reason="HAProxy is not installed: make setup as root does")


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Return a gateway that does not run; its files are written."""
    made = Gateway(create_files(tmp_path, monkeypatch))
    made.write()
    return made


@pytest.fixture
def systemctl(tmp_path, monkeypatch):
    """Put a systemctl first in the path that notes its arguments and says that every unit is active."""
    program = tmp_path / "bin/systemctl"
    program.parent.mkdir()
    called = tmp_path / "called"
    called.touch()
    program.write_text(
        f'#!/bin/sh\necho "$@" >>{called}\n'
        '[ "$1" != show ] || printf "Id=roundhouse-gateway.service\\nActiveState=active\\n"\n'
        f'[ "$1" != reload ] || [ ! -e {tmp_path}/fails ]\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return lambda: [line for line in called.read_text().splitlines() if not line.startswith("show")]


def smaller(plan):
    return {**plan, "agents": [agent for agent in plan["agents"] if agent["name"] == "dev"]}


def test_only_the_agents_of_the_plan_are_written(table):
    assert haproxy_config.write(table.plan) is False  # it is there already
    assert haproxy_config.write(smaller(table.plan)) is True
    text = haproxy_config.path().read_text()
    assert "@@" not in text
    assert ("backend dev\n" in text, "backend po\n" in text, f":{table.ports.po} " in text) == (True, False, False)
    assert haproxy_config.write(table.plan) is True
    assert "backend po\n" in haproxy_config.path().read_text()


def test_the_size_of_a_request_follows_from_the_longest_context(table):
    long = {**table.plan, "agents": [{**agent, "max_model_len": 100_000} for agent in table.plan["agents"]]}
    haproxy_config.write(long)
    assert "longer than 1600000 bytes" in haproxy_config.path().read_text()


def test_a_configuration_that_haproxy_refuses_is_not_put_in_place(table):
    before = haproxy_config.path().read_text()
    template = haproxy_config.template_path()
    template.write_text(template.read_text().replace("mode http", "mode nosuch"))
    with pytest.raises(RoundhouseError) as refused:
        haproxy_config.write(table.plan)
    assert refused.value.code == "haproxy_config_invalid"
    assert haproxy_config.path().read_text() == before
    assert [each.name for each in table.folder.iterdir() if each.name.startswith(".haproxy")] == []


def test_without_the_roles_file_there_is_no_gateway(table):
    haproxy_config.template_path().unlink()
    assert haproxy_config.write(smaller(table.plan)) is False
    with pytest.raises(UsageError) as refused:
        haproxy_config.render("", {**table.plan, "gateway_port": None})
    assert refused.value.code == "gateway_not_planned"


def test_a_running_gateway_is_reloaded_when_the_plan_changed(table, systemctl):
    said = []
    haproxy_config.follow(table.plan, said.append)
    assert systemctl() == []
    haproxy_config.follow(smaller(table.plan), said.append)
    haproxy_config.follow(smaller(table.plan), said.append)
    assert (systemctl(), said) == (["reload roundhouse-gateway.service"], [])


def test_a_failed_gateway_reload_does_not_fail_the_deployment(table, systemctl, tmp_path):
    said = []
    (tmp_path / "fails").touch()
    haproxy_config.follow(smaller(table.plan), said.append)
    haproxy_config.follow({**table.plan, "gateway_port": None}, said.append)
    assert len(said) == 1
    assert said[0].startswith("the gateway still has the agents of the previous plan: `systemctl reload")
