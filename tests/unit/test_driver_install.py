"""The actions of the role nvidia_driver, and each refusal as one sentence."""

import pytest
from role_vars import platforms

from roundhouse.host import dpkg, driver, driver_install
from roundhouse.host.dpkg import Packages, installed
from roundhouse.host.driver_settings import Wanted
from roundhouse.host.driver_support import too_old

PLATFORMS = platforms("nvidia_driver", "Debian") | platforms("nvidia_driver", "Ubuntu")
NOTHING = Packages({}, [], [])
OURS = {"source": "nvidia"}
GA, HWE = "6.8.0-90-generic", "6.14.0-36-generic"


@pytest.fixture
def choose(machine):
    """Return a function that returns the choice for the machine with some settings and packages."""

    def run(packages=NOTHING, ours=None, platform="Debian 13", candidates=None, **settings):
        row = PLATFORMS.get(platform)
        given = {"accelerator": "cuda", "source": "auto", "branch": 580, "version": "", "flavour": "auto", **settings}
        wanted = Wanted(**given, platform=row, platform_name=platform)
        # This machine has no NVML, so a loaded driver is assumed to answer.
        seen = driver.inspect(machine.root)._replace(nvml_error=None)
        return driver_install.choose(seen, wanted, packages, ours, candidates)

    return run


def test_a_fresh_host_gets_the_open_modules_of_the_pinned_branch(choose):
    made = choose()
    assert (made.action, made.source, made.flavour) == ("install", "nvidia", "open")
    assert list(made.missing) == ["nvidia-driver-cuda", "nvidia-kernel-open-dkms"]
    assert list(made.build) == ["dkms", "linux-headers-amd64"]
    assert not made.upgrade


def test_the_cpu_needs_no_driver(choose):
    assert choose(accelerator="cpu").action == "skip"


def test_wsl_is_skipped_with_a_reason(choose, machine):
    machine.write("dev/dxg", "")
    made = choose()
    assert (made.action, "Windows" in made.sentence) == ("skip", True)


def test_ubuntus_own_modules_follow_the_hosts_kernel_and_need_no_dkms(choose, machine):
    machine.secure_boot(True)  # Canonical signs them
    machine.runs(HWE)
    made = choose(
        Packages({}, [], [], [], {"linux-image-generic-hwe-24.04": f"linux-image-{HWE}"}), platform="Ubuntu 24.04"
    )
    assert (made.action, made.source, made.build) == ("install", "distribution", [])
    assert "linux-modules-nvidia-580-server-open-generic-hwe-24.04" in made.missing


@pytest.mark.parametrize(
    ("branch", "packages"), [(580, ["nvidia-open-580"]), (595, ["libnvidia-compute", "nvidia-dkms-open"])]
)
def test_nvidias_packages_for_ubuntu_changed_their_names_with_590(choose, branch, packages):
    assert choose(platform="Ubuntu 24.04", source="nvidia", branch=branch).packages == packages


def test_a_card_before_turing_gets_the_proprietary_modules(choose, machine):
    machine.card("1b06")
    assert (choose().flavour, list(choose().packages)[1]) == ("proprietary", "nvidia-kernel-dkms")


def test_a_card_newer_than_the_table_gets_the_open_ones_and_a_warning(choose, machine):
    machine.card("3f00")
    made = choose()
    assert (made.action, made.flavour) == ("install", "open")
    assert "10de:3f00 is unknown to Roundhouse" in made.warnings[0]


@pytest.mark.parametrize(
    ("device", "settings", "sentence"),
    [
        (
            "1b06",
            {"flavour": "open"},
            "nvidia_driver_flavour is open, but the open kernel modules do not support 10de:1b06",
        ),
        ("1b06", {"branch": 595}, "nvidia_driver_branch is 595, but 580 is the last branch that supports 10de:1b06"),
        ("2d04", {"flavour": "proprietary"}, "only the open kernel modules support 10de:2d04: write auto."),
        ("2204", {"flavour": "proprietary", "branch": 620}, "which has no proprietary modules: write 580."),
        ("2d04", {"branch": 570}, "nvidia_driver_branch is 570, but branch 570 is no longer maintained: write 580"),
        ("2d04", {"version": "580.105.08"}, "does not build on current stable kernels: write 580.126.09 or later."),
        ("2d04", {"version": "595.71.05"}, "nvidia_driver_version is 595.71.05, but nvidia_driver_branch is 580"),
        ("2d04", {"source": "distribution"}, "nvidia_driver_source is distribution, which Debian 13 does not support"),
        (
            "2d04",
            {"platform": "Ubuntu 26.04", "source": "nvidia"},
            "which Ubuntu 26.04 does not support: write distribution.",
        ),
        ("2d04", {"platform": "Fedora 44"}, "The role nvidia_driver does not support Fedora 44"),
    ],
)
def test_an_invalid_setting_is_refused(choose, machine, device, settings, sentence):
    machine.card(device)
    made = choose(**settings)
    assert made.action == "refuse"
    assert sentence in made.sentence


def test_cards_without_a_common_driver_are_refused(choose, machine):
    machine.card("1b06", address="0000:02:00.0")
    assert "remove one kind" in choose().sentence


def test_secure_boot_is_checked_before_an_installation(choose, machine):
    machine.secure_boot(True)
    made = choose()
    assert (made.action, "nothing was installed" in made.sentence) == ("refuse", True)


def test_an_enrolled_key_permits_secure_boot(choose, machine):
    machine.write("var/lib/dkms/mok.pub", b"certificate")
    machine.secure_boot(True, owners_key=b"certificate")
    assert choose().action == "install"


def test_debians_cloud_kernel_is_refused(choose, machine):
    machine.write("proc/sys/kernel/osrelease", "6.12.117+deb13-cloud-amd64\n")
    assert "install linux-image-amd64, remove linux-image-cloud-amd64" in choose().sentence


def test_a_working_foreign_driver_is_kept(choose, machine):
    machine.module("580.173.02")
    machine.load("580.173.02")
    made = choose(Packages({"nvidia-driver-bin": "580.173.02-1"}, [], []))
    assert (made.action, "this role did not install nvidia-driver-bin" in made.sentence) == ("keep", True)


def test_a_broken_foreign_driver_is_refused(choose):
    made = choose(Packages({"nvidia-driver": "535.261.03-1"}, [], []))
    assert made.action == "refuse"
    assert "The GPU has no driver." in made.sentence
    assert "remove those packages first" in made.sentence


def test_a_loaded_runfile_driver_is_kept_and_an_unloaded_one_refused(choose, machine):
    machine.write("usr/bin/nvidia-uninstall", "")
    assert choose().action == "refuse"
    machine.load("580.173.02")
    assert choose().action == "keep"


def test_an_own_driver_is_kept_and_unheld_packages_are_reported(choose):
    there = {"nvidia-driver-cuda": "580.173.02-1", "nvidia-kernel-open-dkms": "580.173.02-1", "dkms": "3.2.2"}
    made = choose(Packages({**there, "nvidia-container-toolkit": "1.19.1-1"}, ["nvidia-driver-cuda"], []), OURS)
    assert (made.managed, made.missing, made.upgrade) == (True, [], False)
    assert made.unheld == ["nvidia-kernel-open-dkms"]


@pytest.mark.parametrize("settings", [{"branch": 595}, {"version": "580.126.09"}])
def test_another_branch_or_release_is_an_upgrade(choose, settings):
    there = {"nvidia-driver-cuda": "580.173.02-1", "nvidia-kernel-open-dkms": "580.173.02-1"}
    assert choose(Packages(there, [], []), OURS, **settings).upgrade


def test_the_minimum_version_compares_by_number(machine):
    assert too_old("580.126.09") is None
    assert too_old("580.1126.00") is None
    assert too_old("580.65.06") is not None


def test_dpkgs_states_are_read():
    listing = "libnvidia-ml1:amd64\t580-1\thi \t\nnvidia-kernel-open-dkms\t580-1\tiF \tdkms\nold\t1\trc \t\n"
    listing += "half\t1\tiHR\t\nunpacked\t1\tiU \t\nwaits\t1\tiW \t\n"
    listing += "linux-image-generic\t6.8\tii \tlinux-image-6.8.0-90-generic, linux-modules-extra-6.8.0-90-generic\n"
    listing += "linux-image-6.8.0-90-generic\t6.8\tii \tkmod\n"
    found = dpkg.parse(listing)
    assert found.versions["libnvidia-ml1"] == "580-1"
    assert (found.held, found.broken) == (
        ["libnvidia-ml1"],
        ["nvidia-kernel-open-dkms", "half", "unpacked", "waits"],
    )
    assert found.failed == ["nvidia-kernel-open-dkms", "half"]
    assert list(found.kernel_metas) == ["linux-image-generic"]


def test_a_host_without_dpkg_has_no_packages(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert installed() == Packages({}, [], [])


def test_every_platform_is_complete_for_its_source():
    for name, platform in PLATFORMS.items():
        row = platform[platform["source"]]
        assert row["open"], name
        assert row["proprietary"], name
        if platform["source"] == "nvidia":
            assert len(row["key"]["fingerprint"]) == 40
            assert row["key"]["fingerprint"].endswith(row["key"]["file"].removesuffix(".pub").upper())


ALL = dict.fromkeys(["nvidia-driver-cuda", "nvidia-kernel-open-dkms"], "580.173.02-1")
BUILD = dict.fromkeys(["dkms", "linux-headers-amd64"], "1")
SETTLED = Packages({**ALL, **BUILD}, list(ALL), [])


@pytest.mark.parametrize(
    ("packages", "settings", "persistent", "loaded", "settled"),
    [
        (SETTLED, {}, True, "580.173.02", True),
        (SETTLED, {}, False, "580.173.02", False),
        (SETTLED, {}, True, "580.126.09", False),  # a different version is loaded: a reboot is needed
        (SETTLED, {"version": "580.126.09"}, True, "580.173.02", False),
        (SETTLED._replace(held=[]), {}, True, "580.173.02", False),
        (SETTLED._replace(broken=["dkms"]), {}, True, "580.173.02", False),
        (SETTLED._replace(versions=ALL), {}, True, "580.173.02", False),
        (SETTLED, {"source": "none"}, True, "580.173.02", False),  # the role does not manage it
    ],
)
def test_only_a_complete_held_and_working_driver_is_skipped(
    choose, machine, packages, settings, persistent, loaded, settled
):
    machine.module("580.173.02")
    machine.load(loaded)
    seen = driver.inspect(machine.root)._replace(nvml_error=None)
    made = choose(packages, OURS, **settings)
    assert driver_install.settled(made, seen, packages, persistent=persistent) is settled
