"""The actions for a host's container engine and toolkit, and each refusal as one sentence."""

import pytest
from role_vars import platforms

from roundhouse.host import container_engine, container_toolkit
from roundhouse.host.container_engine import Engine, Wanted
from roundhouse.host.dpkg import Packages

PLATFORMS = platforms("container_engine", "Debian") | platforms("container_engine", "Ubuntu")
DISTRIBUTION = Engine("distribution", "docker.io", "26.1.5+dfsg1", ["web", "db"], "2.26.1-4")


NONE = Engine()


def choose(engine=NONE, versions=(), platform="Debian 13", **settings):
    given = {"runtime": "compose", "source": "docker", "replace": False, **settings}
    wanted = Wanted(**given, platform=PLATFORMS.get(platform, {}), platform_name=platform)
    return container_engine.choose(engine, Packages(dict.fromkeys(versions, "1"), [], []), wanted)


def test_a_native_host_needs_no_container_engine():
    assert choose(runtime="native").action == "skip"


def test_a_fresh_host_gets_docker_and_compose_from_docker():
    assert "docker-compose-plugin" in choose().missing


def test_another_engine_is_not_replaced_without_permission():
    made = choose(DISTRIBUTION)
    assert made.action == "refuse"
    assert "would replace the installed docker.io 26.1.5+dfsg1 (it runs web, db)" in made.sentence
    assert "write container_engine_source: distribution to keep it" in made.sentence
    assert choose(DISTRIBUTION, replace=True).action == "install"


def test_an_old_engine_is_kept_with_a_warning():
    made = choose(DISTRIBUTION, ["docker.io", "docker-cli", "docker-compose"], source="distribution")
    assert (made.action, made.missing) == ("install", [])
    assert "moby#45610" in made.warnings[0]


def test_an_engine_without_the_loopback_bug_has_no_warning():
    assert choose(Engine("docker", "docker-ce", "29.1.4", [], "5.0.0")).warnings == []


@pytest.mark.parametrize(
    ("platform", "source", "part"),
    [
        ("Debian 12", "distribution", "without CDI and the compose plugin. Set container_engine_source to docker."),
        ("Rocky 10", "docker", "which is not supported on Rocky 10: install an engine with CDI yourself."),
        ("Fedora 44", "docker", "which is not supported on Fedora 44: install an engine with CDI yourself."),
    ],
)
def test_a_source_that_the_platform_lacks_is_refused(platform, source, part):
    made = choose(platform=platform, source=source)
    assert (made.action, part in made.sentence) == ("refuse", True)


@pytest.mark.parametrize(("version", "pair"), [("26.1.5+dfsg1", (26, 1)), ("5:29.6.1-1~debian", (29, 6))])
def test_versions_compare(version, pair):
    assert container_engine.major_minor(version) == pair


def toolkit(engine=DISTRIBUTION, versions=None, **settings):
    given = {"runtime": "compose", "mode": "auto", "version": "1.19.1", **settings}
    return container_toolkit.choose(engine.version, Packages(versions or {}, [], []), **given)


def test_all_toolkit_packages_have_one_release():
    there = dict.fromkeys(container_toolkit.PACKAGES, "1.19.1-1")
    assert toolkit(versions=there).missing == []
    assert toolkit(versions={**there, "libnvidia-container1": "1.20.1-1"}).missing == ["libnvidia-container1"]


def test_cdi_is_preferred_and_an_older_engine_gets_the_legacy_runtime():
    old = DISTRIBUTION._replace(version="20.10.24+dfsg1")
    assert (toolkit().mode, toolkit(old).mode) == ("cdi", "legacy")
    assert "Docker 20.10.24+dfsg1 does not support CDI: write legacy" in toolkit(old, mode="cdi").sentence


def test_a_release_without_a_fresh_specification_is_refused():
    assert toolkit(version="1.16.0").sentence.endswith("write 1.18.2 or later.")
