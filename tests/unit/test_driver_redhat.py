"""The driver's packages on RHEL and its rebuilds: streams on release 9, versions on release 10, DKMS from EPEL."""

import pytest
from role_vars import question, template

from roundhouse.host import driver, driver_install
from roundhouse.host.dpkg import DNF, Packages
from roundhouse.host.driver_settings import Wanted

EPEL = {"dkms": "3.2.2-1.el9"}
KERNEL = "5.14.0-611.5.1.el9_7.x86_64"
BUILD = {"dkms": "3.2.2-1.el9", "kernel-devel-matched": "5.14.0-611.5.1.el9_7"}
OURS = {"source": "nvidia"}


def packages(**versions):
    return Packages({name.replace("_", "-"): version for name, version in versions.items()}, [], [], manager=DNF)


def platform(release, fingerprint="00"):
    facts = {"distribution": release.partition(" ")[0].replace("RHEL", "RedHat"), "os_family": "RedHat"}
    table = template(
        "nvidia_driver",
        "__nvidia_driver_platforms",
        ansible_facts=facts,
        nvidia_driver_repository_fingerprint=fingerprint,
    )
    return table[release]


@pytest.fixture
def choose(machine):
    """Return a function that returns the questions and the choice for a host of a release."""
    machine.runs(KERNEL)

    def run(release="Rocky 9", there=None, ours=None, candidates=None, fingerprint="00", **settings):
        given = {"accelerator": "cuda", "source": "auto", "branch": 580, "version": "", "flavour": "auto", **settings}
        wanted = Wanted(**given, platform=platform(release, fingerprint), platform_name=release)
        there = there or packages()
        seen = driver.inspect(machine.root)
        asked = driver_install.questions(seen, wanted, there)
        offered = EPEL if candidates is None else candidates
        return asked, driver_install.choose(seen, wanted, there, ours, offered)

    return run


@pytest.mark.parametrize("release", ["RHEL 9", "Rocky 9", "AlmaLinux 9"])
@pytest.mark.parametrize(
    ("device", "branch", "stream", "kmod"),
    [
        ("2d04", 580, "nvidia-driver:580-open", "kmod-nvidia-open-dkms"),
        ("2d04", 595, "nvidia-driver:595-open", "kmod-nvidia-open-dkms"),
        ("1b06", 580, "nvidia-driver:580-dkms", "kmod-nvidia-latest-dkms"),
    ],
)
def test_a_stream_selects_branch_and_flavour_on_release_9(choose, machine, release, device, branch, stream, kmod):
    machine.card(device)
    _, made = choose(release, branch=branch)
    assert (made.action, made.stream) == ("install", stream)
    assert list(made.specs) == [f"nvidia-driver-cuda-{branch}.*", f"{kmod}-{branch}.*"]
    assert list(made.build) == ["dkms", "kernel-devel-matched"]


@pytest.mark.parametrize("release", ["RHEL 10", "Rocky 10", "AlmaLinux 10"])
def test_release_10_has_no_streams_and_the_version_selects_the_branch(choose, release):
    _, made = choose(release, version="580.173.02")
    assert (made.action, made.stream) == ("install", "")
    assert list(made.specs) == ["nvidia-driver-cuda-580.173.02-*", "kmod-nvidia-open-dkms-580.173.02-*"]


def test_release_10_needs_the_fingerprint_of_the_vendors_key(choose):
    _, made = choose("Rocky 10", fingerprint="")
    assert made.action == "refuse"
    assert made.sentence == (
        "Roundhouse does not pin NVIDIA's key CDF6BA43 for release 10: compare its fingerprint with NVIDIA's and write "
        "nvidia_driver_repository_fingerprint, or install a driver yourself."
    )


def test_a_host_without_epel_is_refused_before_a_change(choose):
    asked, made = choose(candidates={})
    assert "dkms" in asked
    assert made.action == "refuse"
    assert "No repository of this host offers dkms" in made.sentence
    assert "dnf install epel-release" in made.sentence


def test_a_host_with_dkms_needs_no_repository_for_it(choose):
    asked, made = choose(there=packages(dkms="3.2.2-1.el9"), candidates={})
    assert "dkms" not in asked
    assert (made.action, list(made.build)) == ("install", ["kernel-devel-matched"])


@pytest.mark.parametrize(("architecture", "folder"), [("x86_64", "x86_64"), ("aarch64", "sbsa")])
def test_the_repository_is_that_of_the_release_and_the_architecture(architecture, folder):
    facts = {"distribution": "Rocky", "os_family": "RedHat", "distribution_major_version": "9"}
    _, sources = question("nvidia_driver", {**facts, "architecture": architecture}, engine_accelerator="cuda")
    assert sources["nvidia"]["uri"].endswith(f"/compute/cuda/repos/rhel9/{folder}/")


def test_dnf_holds_no_packages(choose, machine):
    machine.module("580.173.02", kernel=KERNEL)
    installed = dict.fromkeys(("nvidia-driver-cuda", "kmod-nvidia-open-dkms"), "3:580.173.02-1.el9")
    _, made = choose(there=packages(**BUILD, **installed), ours=OURS)
    assert (made.action, list(made.specs), list(made.unheld)) == ("keep", [], [])


def test_a_new_kernel_without_headers_gets_them(choose, machine):
    installed = dict.fromkeys(("nvidia-driver-cuda", "kmod-nvidia-open-dkms"), "3:580.173.02-1.el9")
    devel = f"kernel-devel-{KERNEL}"
    offered = {devel: "5.14.0-611.5.1.el9_7", **EPEL}
    asked, made = choose(there=packages(**BUILD, **installed), ours=OURS, candidates=offered)
    assert devel in asked
    assert list(made.build) == [devel]


def test_a_driver_of_the_owner_is_removed_by_dnf(choose):
    _, made = choose(there=packages(nvidia_driver="3:570.1-1.el9"))
    assert made.action == "refuse"
    assert "remove those packages first" in made.sentence


def test_an_old_driver_of_the_owner_is_refused_with_dnfs_command(choose, machine):
    machine.module("570.211.01", kernel=KERNEL)
    machine.load("570.211.01")
    seen = driver.inspect(machine.root)._replace(nvml_error=None)
    wanted = Wanted("cuda", "auto", 580, "", "auto", platform("Rocky 9"), "Rocky 9")
    made = driver_install.choose(seen, wanted, packages(nvidia_driver="3:570.211.01-1.el9"), None)
    assert "run `dnf remove nvidia-driver`, reboot" in made.sentence
