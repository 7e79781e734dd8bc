"""The actions for a host's NVIDIA container toolkit, and what Docker needs for it."""

import pytest

from roundhouse.host import container_toolkit, docker_config
from roundhouse.host.container_engine import Engine
from roundhouse.host.container_toolkit import MINIMUM, PACKAGES, Toolkit, Wanted

DOCKER = Engine("docker", "docker-ce", "29.1.4", ["web"], "5.0.0", ["web"], cdi=True)
# CDI is a feature flag from 25.0 to 28.1.
FLAG = DOCKER._replace(version="26.1.5", cdi=False)
OWN = FLAG._replace(own=True, configured=True, live_restore=True)
RUNTIME = {"runtimes": container_toolkit.RUNTIME}


def there(release, **changes):
    return Toolkit(release, dict.fromkeys(PACKAGES, release), devices=["nvidia.com/gpu=all"], **changes)


def choose(toolkit=Toolkit(), engine=DOCKER, **settings):  # noqa: B008 - a NamedTuple cannot be changed
    given = {"runtime": "compose", "source": "auto", "mode": "auto", "version": "1.20.1", **settings}
    return container_toolkit.choose(engine, toolkit, Wanted(**given))


def test_a_native_host_needs_no_toolkit():
    assert choose(runtime="native").action == "skip"


@pytest.mark.parametrize("source", ["auto", "nvidia"])
def test_a_host_without_a_toolkit_gets_all_packages(source):
    made = choose(source=source)
    assert (made.action, made.missing, made.managed) == ("install", list(PACKAGES), True)


@pytest.mark.parametrize("release", [MINIMUM, "1.19.1", "1.21.0"])
@pytest.mark.parametrize("source", ["auto", "none"])
def test_a_toolkit_of_someone_else_is_kept_at_its_release(release, source):
    made = choose(there(release), source=source)
    assert (made.action, made.missing, made.managed) == ("keep", [], False)
    assert release in made.sentence


def test_cdi_needs_only_the_base_package():
    base = Toolkit("1.19.1", {"nvidia-container-toolkit-base": "1.19.1"})
    assert choose(base).action == "keep"
    assert choose(base, mode="legacy").action == "upgrade"


def test_an_own_toolkit_and_the_source_nvidia_move_to_the_release():
    assert choose(there("1.19.1", own=True)).action == choose(there("1.19.1"), source="nvidia").action == "upgrade"
    assert choose(there("1.20.1", own=True)).action == "keep"
    assert choose(there("1.20.1", own=True)).managed


def test_a_toolkit_that_is_old_or_mixed_is_upgraded():
    mixed = there("1.19.1")._replace(packages={**there("1.19.1").packages, "libnvidia-container1": "1.16.0"})
    assert choose(there("1.16.0")).action == choose(mixed).action == "upgrade"
    assert choose(mixed, version="1.19.1").missing == ["libnvidia-container1"]


@pytest.mark.parametrize("toolkit", [Toolkit(), there("1.16.0")])
def test_the_source_none_installs_nothing(toolkit):
    made = choose(toolkit, source="none")
    assert (made.action, made.missing) == ("refuse", ())
    assert choose(toolkit, source="auto").action != "refuse"  # the remedy: write auto
    assert choose(there(MINIMUM), source="none").action == "keep"  # the remedy: install it


def test_cdi_is_preferred_and_an_older_engine_gets_the_legacy_runtime():
    old = DOCKER._replace(version="20.10.24+dfsg1", cdi=False)
    assert (choose().mode, choose(engine=old).mode) == ("cdi", "legacy")
    made = choose(engine=old, mode="cdi")
    assert (made.action, "Docker 20.10.24+dfsg1 does not support CDI" in made.sentence) == ("refuse", True)


def test_a_release_without_a_fresh_specification_is_refused():
    made = choose(version="1.16.0")
    assert (made.action, made.problems[0].value) == ("refuse", "1.16.0")
    assert choose(version=MINIMUM).action == "install"


def test_a_docker_of_someone_else_with_cdi_is_not_changed():
    made = choose()
    assert (made.daemon, made.warnings, made.orders_docker) == ({}, [], False)


def test_a_docker_of_someone_else_gets_only_the_flag_and_this_is_announced():
    made = choose(engine=FLAG._replace(live_restore=True))
    assert made.daemon == {"features": {"cdi": True}}
    assert "gets features.cdi, and Docker is restarted, and its containers continue" in made.warnings[0]
    # The next run finds CDI on, and keeps the key that it has written.
    again = choose(there("1.20.1", enabled_cdi=True), FLAG._replace(live_restore=True, cdi=True))
    assert (again.daemon, again.warnings) == ({"features": {"cdi": True}}, [])


def test_the_own_docker_gets_the_legacy_runtime_too():
    assert choose(engine=OWN).daemon == choose(engine=Engine()).daemon == {"features": {"cdi": True}, **RUNTIME}
    assert choose(engine=OWN).orders_docker


@pytest.mark.parametrize("engine", [FLAG, OWN._replace(live_restore=False, swarm=True)])
def test_a_restart_that_stops_containers_of_others_is_refused_with_remedies_that_work(engine):
    made = choose(engine=engine, mode="cdi")
    assert (made.action, made.problems[0].value) == ("refuse", "web")
    assert choose(engine=engine._replace(cdi=True), mode="cdi").action == "install"  # the key set and Docker restarted
    legacy = choose(engine=engine, mode="legacy")
    assert (legacy.action, legacy.daemon) == ("install", RUNTIME)
    assert choose(engine=engine._replace(running=[]), mode="cdi").action == "install"  # the container stopped
    assert choose(engine=engine._replace(running=["roundhouse-dev"]), mode="cdi").action == "install"


@pytest.mark.parametrize("engine", [FLAG, OWN._replace(live_restore=False, swarm=True)])
def test_the_mode_auto_needs_no_restart_that_stops_containers_of_others(engine):
    made = choose(engine=engine)
    assert (made.action, made.mode, made.daemon) == ("install", "legacy", RUNTIME)
    assert "which would stop web" in made.warnings[-1]
    assert docker_config.required_action({}, made.daemon) == "reload"


def test_the_legacy_mode_reloads_a_docker_of_someone_else():
    made = choose(engine=FLAG, mode="legacy")
    assert made.daemon == RUNTIME
    assert "Docker is reloaded" in made.warnings[0]
    assert choose(engine=FLAG._replace(has_runtime=True), mode="legacy").warnings == []
