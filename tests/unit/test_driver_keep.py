"""A driver that is already there: kept if the engine accepts it, refused with versions and a remedy if not."""

import re

import pytest
from role_vars import platforms

from roundhouse.host import dpkg, driver, driver_install, driver_support
from roundhouse.host.dpkg import Packages
from roundhouse.host.driver_settings import Wanted
from roundhouse.paths import CHECKOUT

PLATFORM = platforms("nvidia_driver", "Debian")["Debian 13"]
BY_HAND = Packages({"nvidia-driver": "1", "libnvidia-ml1": "1"}, [], [])


@pytest.fixture
def choose(machine):
    """Return a function that loads a driver and returns the choice for it."""

    def run(loaded, packages=BY_HAND, **settings):
        machine.module(loaded)
        machine.load(loaded)
        given = {"accelerator": "cuda", "source": "auto", "branch": 580, "version": "", "flavour": "auto", **settings}
        wanted = Wanted(**given, platform=PLATFORM, platform_name="Debian 13")
        seen = driver.inspect(machine.root)._replace(nvml_error=None)
        return driver_install.choose(seen, wanted, packages, None)

    return run


@pytest.mark.parametrize("loaded", ["535.261.03", "570.211.01", "580.65.05"])
@pytest.mark.parametrize("settings", [{}, {"source": "none"}])
def test_a_driver_below_the_minimum_is_refused_with_versions_and_a_remedy(choose, loaded, settings):
    made = choose(loaded, **settings)
    assert made.action == "refuse"
    assert f"The driver {loaded} is too old: the engine's CUDA 13.0 needs 580.65.06 or later" in made.sentence
    (problem,) = made.problems
    assert (problem.value, "run `apt-get purge libnvidia-ml1 nvidia-driver`, reboot" in problem.remedy) == (
        loaded,
        True,
    )


@pytest.mark.parametrize("loaded", ["580.65.06", "580.173.02", "595.71.05", "620.10"])
@pytest.mark.parametrize("way", ["packages", "runfile", "neither"])
def test_a_working_driver_of_a_good_version_is_kept(choose, machine, loaded, way):
    if way == "runfile":
        machine.write("usr/bin/nvidia-uninstall", "")
    made = choose(loaded, BY_HAND if way == "packages" else Packages({}, [], []))
    assert (made.action, made.managed, made.packages) == ("keep", False, ())
    assert made.sentence.startswith(f"The driver {loaded} works. It is not changed: ")


def test_a_container_whose_nvml_answers_needs_no_view_of_the_machines_module(machine):
    seen = driver.inspect(machine.root)._replace(container="lxc", nvml_error=None, library="580.173.02")
    wanted = Wanted("cuda", "auto", 580, "", "auto", PLATFORM, "Debian 13")
    assert seen.loaded is None
    assert driver_install.choose(seen, wanted, Packages({}, [], []), None).action == "skip"
    old = seen._replace(library="570.211.01")
    assert driver_install.choose(old, wanted, Packages({}, [], []), None).action == "refuse"


def test_a_runfile_driver_below_the_minimum_names_its_own_removal(choose, machine):
    machine.write("usr/bin/nvidia-uninstall", "")
    made = choose("550.163.01", Packages({}, [], []))
    assert (made.action, "run `nvidia-uninstall`, reboot" in made.sentence) == ("refuse", True)


def test_a_kept_driver_that_the_next_kernel_lacks_is_a_warning(choose, machine):
    machine.kernel("6.12.117+deb13-amd64")
    made = choose("580.173.02")
    assert made.action == "keep"
    assert made.warnings[0].startswith("Kernel 6.12.117+deb13-amd64, which the next reboot starts, has no module")


def test_the_engines_cuda_is_that_of_its_lock():
    lock = (CHECKOUT / "requirements/engine-cuda.txt").read_text()
    found = re.search(r"^nvidia-cuda-runtime==(\d+)\.(\d+)\.", lock, re.MULTILINE)
    assert (int(found[1]), int(found[2])) == driver_support.ENGINE_CUDA


def test_each_supported_branch_satisfies_the_engine():
    for branch in driver_support.BRANCHES:
        newest = f"{branch}.999"
        assert not driver_support.below_minimum(newest)
        assert driver_support.too_old(newest) is None
    assert all(driver_support.too_old(f"{branch}.999") for branch in (535, 570, 590, 610, 615))


@pytest.mark.parametrize(
    "name", ["libnvidia-egl-wayland1", "libnvidia-egl-gbm1", "libnvidia-container1", "firmware-nvidia-graphics"]
)
def test_a_library_of_the_desktop_is_not_a_driver(name):
    assert Packages({name: "1"}, [], []).drivers == []


@pytest.mark.parametrize("name", ["libcudadebugger1", "libnvcuvid1", "libnvoptix1", "libnvidia-ml1", "nvidia-driver"])
def test_each_part_of_a_driver_is_held(name):
    assert Packages({name: "1"}, [], []).user_space == [name]
    assert not dpkg.KERNEL_MODULES.match(name)
