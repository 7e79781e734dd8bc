"""Ubuntu's prebuilt modules: the kernel's flavour, apt's candidates, kernel updates, updates of release and branch."""

import json
import os
import time

import pytest
from role_vars import platforms

from roundhouse.host import apt_candidates, driver, driver_install, kernel_meta
from roundhouse.host.dpkg import Packages
from roundhouse.host.driver_settings import Wanted
from roundhouse.paths import CHECKOUT

PLATFORMS = platforms("nvidia_driver", "Ubuntu")
GA, GA_NEXT, HWE = "6.8.0-90-generic", "6.8.0-91-generic", "6.14.0-36-generic"
MODULES = "linux-modules-nvidia-580-server-open-generic"
USER_SPACE = ("nvidia-headless-no-dkms-580-server-open", "nvidia-utils-580-server", "nvidia-compute-utils-580-server")
OLD, NEW = "580.126.09-0ubuntu0.24.04.1", "580.173.02-0ubuntu0.24.04.1"
OURS = {"source": "distribution"}


def metas(**kernels):
    return {f"linux-image-{name.replace('_', '-')}": f"linux-image-{kernel}" for name, kernel in kernels.items()}


def there(version=OLD, modules="6.8.0-90.91", held=USER_SPACE, more=()):
    versions = dict.fromkeys(USER_SPACE, version) | {MODULES: modules} | dict(more)
    return Packages(versions, list(held), [], [], metas(generic=GA))


def offered(version=OLD, modules="6.8.0-90.91"):
    return {MODULES: modules} | dict.fromkeys(USER_SPACE, version)


@pytest.fixture
def choose(machine):
    """Return a function that returns the choice on Ubuntu 24.04 with some packages, candidates and settings."""
    machine.runs(GA)

    def run(packages, candidates=None, ours=OURS, **settings):
        given = {"accelerator": "cuda", "source": "auto", "branch": 580, "version": "", "flavour": "auto", **settings}
        wanted = Wanted(**given, platform=PLATFORMS["Ubuntu 24.04"], platform_name="Ubuntu 24.04")
        seen = driver.inspect(machine.root)._replace(nvml_error=None)
        return driver_install.choose(seen, wanted, packages, ours, candidates)

    return run


@pytest.mark.parametrize(
    ("running", "newest", "installed", "flavours"),
    [
        (GA, GA, metas(generic=GA), ["generic"]),
        (HWE, HWE, metas(generic=GA, generic_hwe_24_04=HWE), ["generic-hwe-24-04"]),
        (GA, HWE, metas(generic=GA, generic_hwe_24_04=HWE), ["generic", "generic-hwe-24-04"]),
        (GA, GA_NEXT, metas(generic=GA_NEXT), ["generic"]),
        (HWE, "6.17.0-8-generic", metas(generic_hwe_24_04="6.17.0-8-generic"), ["generic-hwe-24-04"]),
        (GA, GA, metas(virtual=GA), ["generic"]),
        (HWE, HWE, metas(virtual_hwe_24_04=HWE), ["generic-hwe-24-04"]),
        (GA, GA, metas(generic=GA, virtual=GA), ["generic"]),
        ("6.8.0-1020-aws", "6.8.0-1020-aws", metas(generic=GA, aws="6.8.0-1020-aws"), ["aws"]),
        ("6.11.0-5-custom", "6.11.0-5-custom", metas(generic=GA), []),
    ],
)
def test_the_flavour_is_that_of_the_meta_package_that_brought_the_kernel(running, newest, installed, flavours):
    assert kernel_meta.flavours(running, newest, installed) == flavours


def test_a_kernel_without_a_meta_package_is_refused_before_any_change(choose, machine):
    machine.runs("6.11.0-5-custom")
    made = choose(Packages({}, [], [], [], metas(generic=GA)), ours=None)
    assert made.action == "refuse"
    assert "No installed meta-package, such as linux-image-generic, depends on kernel 6.11.0-5-custom" in made.sentence
    assert made.problems[0].value == "6.11.0-5-custom"


def test_a_package_that_the_index_lacks_is_refused_before_any_change(choose):
    made = choose(Packages({}, [], [], [], metas(generic=GA)), {"nvidia-utils-580-server": OLD}, ours=None)
    assert made.action == "refuse"
    assert f"Ubuntu 24.04 offers no package {MODULES}, nvidia-headless-no-dkms-580-server-open" in made.sentence


def test_without_a_current_index_the_role_updates_it_first(choose):
    made = choose(Packages({}, [], [], [], metas(generic=GA)), None, ours=None)
    assert (made.action, made.needs_index) == ("install", True)
    assert not choose(Packages({}, [], [], [], metas(generic=GA)), offered(), ours=None).needs_index


def test_the_modules_are_not_held_and_an_older_hold_is_released(choose, machine):
    machine.module("580.126.09", kernel=GA)
    machine.load("580.126.09")
    made = choose(there(held=[MODULES, f"linux-modules-nvidia-580-server-open-{GA}"]), offered())
    assert sorted(made.unheld) == sorted(USER_SPACE)
    assert made.to_unhold == [MODULES, f"linux-modules-nvidia-580-server-open-{GA}"]
    template = CHECKOUT / "roles/nvidia_driver/templates/unattended.conf.j2"
    assert '"linux-modules-nvidia-' not in template.read_text()


def seen(machine):
    return driver.inspect(machine.root)._replace(nvml_error=None)


def test_a_driver_with_held_modules_is_not_settled(choose, machine):
    machine.module("580.126.09", kernel=GA)
    machine.load("580.126.09")
    for held, settled in ((USER_SPACE, True), ((*USER_SPACE, MODULES), False)):
        packages = there(held=held)
        made = choose(packages, offered())
        assert made.action == "keep"
        assert driver_install.settled(made, seen(machine), packages, persistent=True) is settled


def test_a_kernel_that_was_booted_without_a_module_is_repaired(choose, machine):
    """The packages are complete, but the module's package was held back when the kernel was updated."""
    machine.runs(GA_NEXT)
    made = choose(there(), offered(modules="6.8.0-91.92"))
    assert (made.action, made.missing, made.upgrade) == ("install", [], False)
    assert made.specs == [f"{MODULES}=6.8.0-91.92"]


def test_a_module_that_needs_a_newer_release_upgrades_all_packages(choose, machine):
    machine.runs(GA_NEXT)
    made = choose(there(), offered(NEW, "6.8.0-91.92"))
    assert (made.action, made.upgrade) == ("upgrade", True)
    assert made.specs == [f"{MODULES}=6.8.0-91.92", *(f"{name}={NEW}" for name in USER_SPACE)]


def test_the_module_of_the_next_kernel_is_installed_before_the_reboot(choose, machine):
    machine.module("580.126.09", kernel=GA)
    machine.load("580.126.09")
    machine.kernel(GA_NEXT)
    made = choose(there(), offered(modules="6.8.0-91.92"))
    assert (made.action, made.specs) == ("install", [f"{MODULES}=6.8.0-91.92"])


def test_a_release_is_installed_if_the_archive_offers_it(choose, machine):
    machine.module("580.126.09", kernel=GA)
    machine.load("580.126.09")
    made = choose(there(), offered(NEW), version="580.173.02")
    assert (made.action, made.upgrade) == ("upgrade", True)
    assert f"nvidia-utils-580-server={NEW}" in made.specs


@pytest.mark.parametrize("packages", [there(), Packages({}, [], [], [], metas(generic=GA))])
def test_a_release_that_the_archive_lacks_is_refused(choose, packages):
    made = choose(packages, offered(NEW), version="580.150.01")
    assert made.action == "refuse"
    assert "nvidia_driver_version is 580.150.01, but Ubuntu 24.04 offers 580.173.02" in made.sentence


def test_an_installed_release_is_kept_after_the_archive_has_moved_on(choose, machine):
    machine.module("580.126.09", kernel=GA)
    machine.load("580.126.09")
    assert choose(there(), offered(NEW), version="580.126.09").action == "keep"
    assert choose(there(), offered(NEW)).action == "keep"


def test_another_branch_is_an_upgrade_so_that_agents_stop(choose, machine):
    machine.module("580.126.09", kernel=GA)
    machine.load("580.126.09")
    candidates = {name.replace("580", "595"): version.replace("580", "595") for name, version in offered().items()}
    made = choose(there(more={"nvidia-modprobe": "570.86.16"}.items()), candidates, branch=595)
    assert (made.action, made.upgrade, len(made.missing)) == ("upgrade", True, 4)
    assert not choose(there(more={"nvidia-modprobe": "570.86.16"}.items()), offered()).upgrade


def test_apts_candidates_are_read():
    output = "a:\n  Installed: (none)\n  Candidate: 1.2-3\n  Version table:\n     1.2-3 500\n"
    output += "b:\n  Installed: 1\n  Candidate: (none)\n"
    assert apt_candidates.parse(output) == {"a": "1.2-3"}


@pytest.fixture
def index(tmp_path):
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/archive_Packages.lz4").touch()
    return tmp_path / "lists"


def test_an_index_that_is_missing_or_old_gives_no_candidates(index):
    stamp = index.parent / "stamp"
    assert apt_candidates.read(["bash"], index, stamp) is not None
    old = time.time() - 90000
    os.utime(index, (old, old))
    assert apt_candidates.read(["bash"], index, stamp) is None
    stamp.touch()
    assert apt_candidates.read(["bash"], index, stamp) is not None
    (index / "archive_Packages.lz4").unlink()
    assert apt_candidates.read(["bash"], index, stamp) is None


def test_the_choice_is_data_for_ansible(choose):
    json.dumps(choose(there(), offered())._asdict())
