"""The actions for a host's container engine, and each refusal with a remedy that works."""

import re

import pytest
from role_vars import platforms, template

from roundhouse.host import container_engine
from roundhouse.host.container_engine import OTHER, Engine, Wanted
from roundhouse.host.dpkg import Packages

PLATFORMS = platforms("container_engine", "Debian") | platforms("container_engine", "Ubuntu")
NONE = Engine()
# By docker.com's instructions or its convenience script, with a container of someone else.
DOCKER = Engine("docker", "docker-ce", "29.1.4", ["web"], "5.0.0", ["web", "old"])
DISTRIBUTION = Engine("distribution", "docker.io", "26.1.5+dfsg1", ["web", "db"], "2.26.1-4", ["web", "db"])
OLD = DISTRIBUTION._replace(version="20.10.24+dfsg1", compose=None)
OLD_DOCKER = DOCKER._replace(version="24.0.9")
STATIC = DOCKER._replace(origin=OTHER, package="no known package")
OWN = Engine("docker", "docker-ce", "29.1.4", [], "5.0.0", [], own=True, configured=True)


def settings(platform="Debian 13", **given):
    given = {"runtime": "compose", "source": "auto", "replace": False, **given}
    return Wanted(**given, platform=PLATFORMS.get(platform, {}), platform_name=platform)


def choose(engine=NONE, versions=(), platform="Debian 13", **given):
    return container_engine.choose(engine, Packages(dict.fromkeys(versions, "1"), [], []), settings(platform, **given))


def test_a_native_host_needs_no_container_engine():
    assert choose(OLD, runtime="native").action == "skip"


@pytest.mark.parametrize(("source", "package"), [("auto", "docker-compose-plugin"), ("distribution", "docker-compose")])
def test_a_fresh_host_gets_docker_and_compose(source, package):
    made = choose(source=source)
    assert (made.action, package in made.missing, made.configures) == ("install", True, True)
    assert made.source == ("docker" if source == "auto" else source)


@pytest.mark.parametrize("engine", [DOCKER, DISTRIBUTION, STATIC, DOCKER._replace(running=None, others=None)])
@pytest.mark.parametrize("source", ["auto", "none"])
def test_a_working_engine_of_someone_else_is_kept_without_a_repository_and_with_its_settings(engine, source):
    made = choose(engine, source=source)
    assert (made.action, made.missing, made.source, made.configures) == ("keep", (), "", False)


def test_an_own_engine_keeps_its_repository_and_its_settings():
    made = choose(OWN)
    assert (made.action, made.source, made.configures) == ("keep", "docker", True)
    assert choose(OWN, source="none").source == ""


def test_a_run_that_was_killed_before_the_settings_is_completed():
    assert choose(OWN._replace(configured=False)).configures
    assert not choose(OWN._replace(configured=False, others=["web"])).configures


def test_another_source_replaces_an_engine_only_with_permission():
    made = choose(DISTRIBUTION, source="docker")
    assert (made.action, made.problems[0].value) == ("refuse", "docker")
    assert "would replace the installed docker.io 26.1.5+dfsg1, which runs web, db" in made.sentence
    assert choose(DISTRIBUTION, source="docker", replace=True).action == "install"


def test_the_defaults_are_not_given_to_containers_of_a_replaced_engine():
    assert not choose(DISTRIBUTION, source="docker", replace=True).configures
    assert choose(DISTRIBUTION._replace(others=[], running=[]), source="docker", replace=True).configures


def test_a_missing_compose_plugin_is_installed_beside_the_engine_of_someone_else():
    there = ["docker-ce", "docker-ce-cli", "containerd.io", "docker-buildx-plugin"]
    made = choose(DOCKER._replace(compose=None), there)
    assert (made.action, made.missing, made.source) == ("install", ["docker-compose-plugin"], "docker")
    assert not made.configures
    assert choose(DOCKER._replace(compose=None), there, source="none").action == "refuse"


def test_an_old_engine_is_upgraded_or_replaced_only_with_permission():
    assert choose(OLD_DOCKER).action == choose(OLD, platform="Debian 12").action == "refuse"
    assert choose(OLD_DOCKER, replace=True).action == "upgrade"
    assert "docker-ce" in choose(OLD_DOCKER, versions=["docker-ce"], replace=True).missing
    made = choose(OLD, platform="Debian 12", replace=True)
    assert (made.action, made.source) == ("install", "docker")


def test_packages_that_docker_would_remove_are_not_removed_silently():
    made = choose(NONE._replace(rivals=["containerd", "runc"]))
    assert made.action == "refuse"
    assert "would remove containerd and runc" in made.sentence
    assert choose(NONE._replace(rivals=["containerd"]), source="distribution").action == "install"


REFUSED = [
    (NONE, {"source": "none"}),
    (NONE, {"source": "distribution", "platform": "Debian 12"}),
    (NONE, {"platform": "Fedora 44"}),
    (NONE, {"platform": "Rocky 10", "source": "docker"}),
    (NONE._replace(rivals=["containerd"]), {}),
    (NONE._replace(rivals=["podman-docker"]), {}),
    (DISTRIBUTION, {"source": "docker"}),
    (DISTRIBUTION, {"source": "docker", "platform": "Fedora 44", "replace": True}),
    (DOCKER, {"source": "distribution"}),
    (OLD, {}),
    (OLD, {"source": "none"}),
    (OLD, {"platform": "Debian 12"}),
    (OLD, {"source": "docker"}),
    (OLD_DOCKER, {}),
    (OLD_DOCKER, {"source": "none"}),
    (OLD_DOCKER, {"platform": "Fedora 44"}),
    (STATIC._replace(version="24.0.9"), {}),
    (STATIC._replace(compose=None), {}),
    (STATIC._replace(has_unit=False), {"replace": True}),
    (DOCKER._replace(compose=None), {"source": "none"}),
]


@pytest.mark.parametrize(("engine", "given"), REFUSED)
def test_each_remedy_of_a_refusal_works(engine, given):
    made = choose(engine, **given)
    assert made.action == "refuse"
    (problem,) = made.problems
    assert problem.remedy in made.sentence
    remedies = problem.remedy.split("; or ")
    for remedy in remedies:
        changes = dict(re.findall(r"container_engine_(\w+): (\w+)", remedy))
        if "replace" in changes:
            changes["replace"] = changes["replace"] == "true"
        # What a person does by hand changes the host instead of a setting.
        repaired = engine
        if not changes:
            by_hand = {"upgrade it": DOCKER._replace(origin=engine.origin, package=engine.package)}
            by_hand["install its compose plugin"] = engine._replace(compose="2.26.1")
            by_hand["remove it (`snap remove docker`)"] = NONE
            by_hand["remove it"] = NONE
            by_hand["install Docker 25.0 or later with its compose plugin"] = STATIC
            repaired = by_hand[remedy]
        again = choose(repaired, **{**given, **changes})
        assert again.action != "refuse", (remedy, again.sentence)


def test_an_old_engine_warns_of_its_reachable_ports():
    assert "moby#45610" in choose(DISTRIBUTION).warnings[0]
    assert choose(DOCKER).warnings == []


@pytest.mark.parametrize("engine", [DOCKER, OWN, NONE])
def test_live_restore_is_never_set_in_a_swarm(engine):
    assert choose(engine).excluded == []
    assert choose(engine._replace(swarm=True)).excluded == ["live-restore"]


@pytest.mark.parametrize("swarm", [False, True])
def test_the_role_merges_no_excluded_key_even_if_it_is_a_setting(swarm):
    made = choose(OWN._replace(swarm=swarm))
    given = {"container_engine_publish_address": "127.0.0.1", "container_engine_daemon": {"live-restore": True}}
    keys = template(
        "container_engine", "__container_engine_daemon_keys", __container_engine={"choice": made._asdict()}, **given
    )
    assert ("live-restore" in keys) is not swarm
    assert (keys["ip"], keys["log-driver"]) == ("127.0.0.1", "local")


@pytest.mark.parametrize(("version", "pair"), [("26.1.5+dfsg1", (26, 1)), ("5:29.6.1-1~debian", (29, 6))])
def test_versions_compare(version, pair):
    assert container_engine.major_minor(version) == pair
