"""The preflight table of described hosts: the action for each component, and every reason before the first change."""

import os
from collections.abc import Mapping
from typing import NamedTuple

import pytest
import screen_facts
from described_hosts import AMD64, ARM64, DOCKER_CE, NOTHING, TOOLKIT, Described
from role_vars import platforms

from roundhouse.host import apt_sources, docker_config, driver, gpu, packages, system
from roundhouse.provision import preflight, preflight_host

UBUNTU_KERNELS = {"Ubuntu 22.04": "5.15.0-161-generic", "Ubuntu 24.04": "6.8.0-87-generic"}
UBUNTU_KERNELS |= {"Ubuntu 26.04": "7.0.0-22-generic"}
META = {"linux-image-generic": "1"}
SPARK = "gpu 000f:01:00.0 2e12 0 0 12.1 off GPU-a1b2 NVIDIA GB10"
LIST, SOURCES = "etc/apt/sources.list.d/docker.list", "etc/apt/sources.list.d/docker.sources"
DOCKER_LIST = (
    "deb [arch=amd64 signed-by=/etc/apt/keyrings/docker.asc] https://download.docker.com/linux/ubuntu noble stable"
)
DOCKER_SOURCES = (
    "Types: deb\nURIs: https://download.docker.com/linux/debian\nSuites: trixie\nComponents: stable\n"
    "Signed-By: /etc/apt/keyrings/docker.asc\n"
)
TOOLKIT_LIST = (
    "deb [signed-by=/usr/share/keyrings/nvidia-container-toolkit-keyring.gpg] "
    "https://nvidia.github.io/libnvidia-container/stable/deb/$(ARCH) /\n"
)


class Expected(NamedTuple):
    """The actions, and a part of the table's row for each named component."""

    driver: str
    engine: str
    toolkit: str
    words: Mapping = NOTHING


def ubuntu(release, **differences):
    """Return a Ubuntu host with its release's kernel and the kernel's meta-package."""
    packages = {**META, **differences.pop("packages", {})}
    return Described(release, kernel=UBUNTU_KERNELS[release], packages=packages, **differences)


def docker_ce(version="29.6.1"):
    """Return the packages of Docker's repository."""
    return dict.fromkeys(DOCKER_CE, f"5:{version}-1")


def toolkit(version):
    """Return the packages of the container toolkit."""
    return dict.fromkeys(TOOLKIT, f"{version}-1")


ALL = ("install", "install", "install")
NONE = ("skip", "skip", "skip")
# A driver that the user installed from the distribution's packages.
BY_HAND_580 = {"packages": {"nvidia-driver": "580.173.02-1"}, "loaded": "580.173.02"}
IN_LXC = {"run/systemd/container": "lxc\n"}
NATIVE = {"agents_runtime": "native"}
ON_CPU = {**NATIVE, "engine_accelerator": "cpu"}

HOSTS = {
    "Debian 12, bare": (Described("Debian 12"), Expected(*ALL)),
    "Debian 13, bare": (Described("Debian 13"), Expected(*ALL, {"driver": "Driver branch 580"})),
    "Ubuntu 22.04, bare": (ubuntu("Ubuntu 22.04"), Expected(*ALL, {"driver": "from distribution"})),
    "Ubuntu 24.04, bare": (ubuntu("Ubuntu 24.04"), Expected(*ALL, {"driver": "from distribution"})),
    "Ubuntu 26.04, bare": (ubuntu("Ubuntu 26.04"), Expected(*ALL, {"driver": "from distribution"})),
    "docker-ce from docker.list": (
        ubuntu("Ubuntu 24.04", packages=docker_ce(), docker="29.6.1", files={LIST: DOCKER_LIST}),
        Expected("install", "keep", "install"),
    ),
    "docker-ce from docker.sources": (
        Described("Debian 13", packages=docker_ce(), docker="29.6.1", files={SOURCES: DOCKER_SOURCES}),
        Expected("install", "keep", "install"),
    ),
    "docker.io 20.10": (
        Described("Debian 12", packages={"docker.io": "20.10.24+dfsg1-1+deb12u1"}, docker="20.10.24+dfsg1"),
        Expected("install", "refuse", "install", {"container engine": "20.10.24+dfsg1"}),
    ),
    "docker.io 26.1": (
        Described("Debian 13", packages={"docker.io": "26.1.5+dfsg1-9"}, docker="26.1.5+dfsg1"),
        Expected("install", "keep", "install"),
    ),
    "NVIDIA's list with $(ARCH), without the toolkit": (
        Described("Debian 13", files={"etc/apt/sources.list.d/nvidia-container-toolkit.list": TOOLKIT_LIST}),
        Expected(*ALL),
    ),
    "NVIDIA's list with $(ARCH), with its toolkit": (
        Described(
            "Debian 13",
            packages=toolkit("1.20.1"),
            files={"etc/apt/sources.list.d/nvidia-container-toolkit.list": TOOLKIT_LIST},
        ),
        Expected("install", "install", "keep"),
    ),
    "a daemon.json that is not JSON": (
        Described("Debian 13", files={"etc/docker/daemon.json": "{"}),
        Expected("install", "refuse", "install", {"container engine": "daemon.json is not valid JSON"}),
    ),
    "driver 535 by hand": (
        Described("Debian 12", packages={"nvidia-driver": "535.261.03-1"}, card="2684", loaded="535.261.03"),
        Expected("refuse", "install", "install", {"driver": "535.261.03"}),
    ),
    "driver 570 by hand": (
        ubuntu("Ubuntu 24.04", packages={"nvidia-driver-570-open": "570.211.01-0ubuntu1"}, loaded="570.211.01"),
        Expected("refuse", "install", "install", {"driver": "570.211.01"}),
    ),
    "driver 580 by hand": (Described("Debian 13", **BY_HAND_580), Expected("keep", *ALL[1:])),
    "a driver that does not load": (
        Described("Debian 12", packages={"nvidia-driver": "535.261.03-1"}),
        Expected("refuse", "install", "install", {"driver": "remove those packages first"}),
    ),
    "runfile, loaded": (
        Described("Debian 13", loaded="580.173.02", files={"usr/bin/nvidia-uninstall": ""}),
        Expected("keep", *ALL[1:]),
    ),
    "runfile, not loaded": (
        Described("Debian 13", files={"usr/bin/nvidia-uninstall": ""}),
        Expected("refuse", *ALL[1:], {"driver": "nvidia-uninstall"}),
    ),
    "nouveau with a monitor on the only card": (
        Described("Debian 13", card_driver="nouveau"),
        Expected(*ALL, {"driver": "nouveau_bound", "cards": "10de:2d04"}),
    ),
    "a second card that the driver of the first does not support": (
        Described("Debian 13", second="1b06"),
        Expected("refuse", *ALL[1:], {"driver": "remove one kind"}),
    ),
    "a lost card": (
        Described("Debian 13", **BY_HAND_580, nvml=("fail 15",)),
        Expected("refuse", *ALL[1:], {"driver": "NVML fails with error 15"}),
    ),
    "WSL2": (
        Described("Ubuntu 24.04", kernel="6.6.87.2-microsoft-standard-WSL2", card=None, files={"dev/dxg": ""}),
        Expected(*NONE, {"system": "This host is WSL2"}),
    ),
    "Jetson": (
        Described(
            "Ubuntu 22.04",
            architecture=ARM64,
            kernel="5.15.148-tegra",
            card=None,
            files={"etc/nv_tegra_release": "# R36 (release), REVISION: 4.3\n"},
        ),
        Expected(*NONE, {"system": "This host is an NVIDIA Jetson"}),
    ),
    "Jetson by its device tree": (
        Described(
            "Ubuntu 24.04",
            architecture=ARM64,
            kernel="6.8.12-tegra",
            card=None,
            files={"proc/device-tree/compatible": b"nvidia,p3971\0nvidia,tegra264\0"},
        ),
        Expected(*NONE, {"system": "This host is an NVIDIA Jetson"}),
    ),
    "GB10": (
        ubuntu(
            "Ubuntu 24.04",
            architecture=ARM64,
            card="2e12",
            loaded="580.95.05",
            docker="28.5.1",
            packages={"nvidia-driver-580-open": "580.95.05-0ubuntu1", **docker_ce("28.5.1"), **toolkit("1.18.2")},
            nvml=(SPARK,),
        ),
        Expected("keep", "keep", "keep"),
    ),
    "arm64 without an image": (
        ubuntu("Ubuntu 24.04", architecture=ARM64, settings=NATIVE),
        Expected("install", "skip", "skip", {"system": "Set agents_runtime: compose."}),
    ),
    "Debian's cloud kernel": (
        Described("Debian 13", kernel="6.12.117+deb13-cloud-amd64"),
        Expected("refuse", *ALL[1:], {"driver": "linux-image-amd64"}),
    ),
    "Debian's cloud kernel on arm64": (
        Described("Debian 13", architecture=ARM64, kernel="6.12.117+deb13-cloud-arm64"),
        Expected("refuse", *ALL[1:], {"driver": "install linux-image-arm64, remove linux-image-cloud-arm64"}),
    ),
    "Secure Boot without DKMS's key": (
        Described("Debian 13", secure_boot=True),
        Expected("refuse", *ALL[1:], {"driver": "Secure Boot is on", "Secure Boot": "on"}),
    ),
    "Secure Boot with Canonical's modules": (ubuntu("Ubuntu 24.04", secure_boot=True), Expected(*ALL)),
    "CPU": (Described("Debian 13", card=None, settings=ON_CPU), Expected(*NONE)),
    "native engines": (Described("Debian 13", settings=NATIVE), Expected("install", "skip", "skip")),
    "a partly installed package": (
        Described("Debian 13", states={"nvidia-kernel-open-dkms": "iF "}),
        Expected(*ALL, {"packages of others": "Partly installed: nvidia-kernel-open-dkms"}),
    ),
    "no card": (Described("Debian 13", card=None), Expected("refuse", *ALL[1:], {"cards": "no NVIDIA GPU"})),
    "a card older than Turing": (Described("Debian 13", card="1b06"), Expected(*ALL, {"driver": "proprietary"})),
    "a branch that ended": (
        Described("Debian 13", settings={"nvidia_driver_branch": "570"}),  # a string, as --extra-vars gives it
        Expected("refuse", *ALL[1:], {"driver": "nvidia_driver_branch is 570"}),
    ),
    "a container": (
        Described("Debian 13", loaded="580.173.02", files=IN_LXC),
        Expected("skip", *ALL[1:], {"driver": "a container (lxc), which uses the machine's driver."}),
    ),
    "a container on a machine without a driver": (
        Described("Debian 13", files=IN_LXC),
        Expected("refuse", *ALL[1:], {"driver": "its machine has no driver loaded"}),
    ),
    "a container on a machine with driver 535": (
        Described("Debian 13", loaded="535.261.03", card="2684", files=IN_LXC),
        Expected("refuse", *ALL[1:], {"driver": "its machine's driver 535.261.03 is too old"}),
    ),
    "a container without the driver's libraries": (
        Described("Debian 13", loaded="580.173.02", files=IN_LXC, nvml=("fail 12",)),
        Expected("refuse", *ALL[1:], {"driver": "install the libraries of driver 580.173.02 in it"}),
    ),
    "a GT 710 whose nouveau the role blocks": (
        Described("Debian 13", second="128b", second_driver="nouveau"),
        Expected(*ALL, {"driver": "Card 0000:02:00.0 (10de:128b) has nouveau, which this role blocks"}),
    ),
    "a second card of a virtual machine": (
        Described("Debian 13", **BY_HAND_580, second="2684", second_driver="vfio-pci"),
        Expected("keep", *ALL[1:], {"cards": "has the driver vfio-pci, so no agent uses it"}),
    ),
    "a driver by hand beside a GTX 1080 with nouveau": (
        Described("Debian 13", **BY_HAND_580, second="1b80", second_driver="nouveau"),
        Expected("keep", *ALL[1:], {"cards": "has the driver nouveau, so no agent uses it"}),
    ),
    "Debian 11": (Described("Debian 11"), Expected(*NONE, {"system": "supports only Debian 12, Debian 13, Ubuntu"})),
    "RHEL 9, bare": (Described("RHEL 9"), Expected(*ALL, {"driver": "Driver branch 580", "SELinux": "off"})),
    "Rocky 9, bare, SELinux enforcing": (
        Described("Rocky 9", files={"sys/fs/selinux/enforce": "1"}),
        Expected(*ALL, {"SELinux": "SELinux is enforcing, and Roundhouse was not tested with it"}),
    ),
    "Rocky 9 without EPEL": (
        Described("Rocky 9", offers=NOTHING),
        Expected("refuse", *ALL[1:], {"driver": "No repository of this host offers dkms"}),
    ),
    "Rocky 9, arm64": (Described("Rocky 9", architecture=ARM64), Expected(*ALL)),
    "Rocky 9, native": (
        Described("Rocky 9", settings=NATIVE),
        Expected("install", "skip", "skip", {"system": "the locked engine does not support Rocky 9"}),
    ),
    "Rocky 9, driver, Docker and toolkit by their makers' instructions": (
        Described(
            "Rocky 9",
            packages={"nvidia-driver-cuda": "3:580.173.02-1.el9", **dict.fromkeys(DOCKER_CE, "3:29.6.1-1.el9")}
            | dict.fromkeys(TOOLKIT, "1.19.1-1"),
            loaded="580.173.02",
            docker="29.6.1",
        ),
        Expected("keep", "keep", "keep"),
    ),
    "AlmaLinux 10, bare": (
        Described("AlmaLinux 10"),
        Expected("refuse", *ALL[1:], {"driver": "write nvidia_driver_repository_fingerprint"}),
    ),
    "AlmaLinux 10, with the key's fingerprint": (
        Described("AlmaLinux 10", settings={"nvidia_driver_repository_fingerprint": "00"}),
        Expected(*ALL, {"driver": "Driver branch 580"}),
    ),
    "Rocky 8": (Described("Rocky 8"), Expected(*NONE, {"system": "This host runs Rocky Linux 8.10 (Green Obsidian)"})),
    "an unknown distribution": (Described("Arch"), Expected(*NONE, {"system": "This host runs Arch Linux"})),
}


@pytest.fixture
def rows(machine, tmp_path, monkeypatch):
    """Return a function that returns the rows of a described host by component."""

    def check(described):
        programs = tmp_path / "programs"
        described.write(machine, programs)
        monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
        monkeypatch.setattr(packages, "ROOT", machine.root)
        monkeypatch.setattr(system.platform, "machine", lambda: described.architecture)
        monkeypatch.setattr(driver, "OURS", machine.root / "etc/roundhouse/nvidia_driver.json")
        monkeypatch.setattr(docker_config, "PATH", machine.root / "etc/docker/daemon.json")
        monkeypatch.setattr(apt_sources, "LIST", machine.root / "etc/apt/sources.list")
        monkeypatch.setattr(apt_sources, "FOLDER", machine.root / "etc/apt/sources.list.d")
        given = {"agents_runtime": "compose", "engine_accelerator": "cuda", **described.settings}
        image = "vllm/vllm-openai@sha256:00" if given["agents_runtime"] == "compose" else None
        places = (str(tmp_path), "python3", str(tmp_path), str(tmp_path))
        wanted = preflight_host.Wanted(
            [], [], given["engine_accelerator"], *places, image=image, runtime=given["agents_runtime"]
        )
        found = preflight.check(wanted, answer(machine, described), described.asked(), machine.root)
        return {row.component: row.as_json() for row in found}

    return check


def answer(machine, described):
    """Return NVML's answer on the host, from the real client over the stand-in for the library."""
    if described.loaded is None:
        lists = {name: [] for name in gpu.Answer._fields}
        return gpu.Answer(**{**lists, "driver_version": None, "error": gpu.LIBRARY_NOT_FOUND})
    lines = described.nvml or (f"gpu 0000:01:00.0 {described.card} 16311 512 12.0 off GPU-5f1c A card",)
    code = "from roundhouse.host import gpu; print(json.dumps(gpu.read()._asdict()))"
    return gpu.Answer(**machine.ask(code, f"driver {described.loaded}", *lines))


@pytest.mark.parametrize(("described", "expected"), HOSTS.values(), ids=HOSTS)
def test_the_table_of_a_host(rows, described, expected):
    found = rows(described)
    actions = [found[name]["action"] for name in ("driver", "container engine", "container toolkit")]
    assert actions == list(expected[:3]), found
    for component, word in expected.words.items():
        row = found[component]
        assert word in "\n".join([row["found"], row["reason"], *row["problems"], *row["warnings"]])


def test_the_table_in_the_documents_is_that_of_a_host_with_a_monitor(rows):
    card = "gpu 0000:01:00.0 2d04 16311 1290 12.0 on GPU-5f1c NVIDIA GeForce RTX 5060 Ti"
    desktop = ("graphics 0 1500 312 /usr/lib/xorg/Xorg", "graphics 0 1700 516 /usr/bin/gnome-shell")
    by_hand = {"packages": {"nvidia-driver-580-open": "580.173.02-0ubuntu0.24.04.1"}, "loaded": "580.173.02"}
    found = rows(ubuntu("Ubuntu 24.04", secure_boot=True, nvml=(card, *desktop), **by_hand))
    shown = {row.component: row.as_json() for row in screen_facts.ROWS}
    assert [*shown] == [*found]
    for name in found.keys() - set(screen_facts.OF_THE_MACHINE):
        assert {**shown[name], "problems": [], "warnings": [*shown[name]["warnings"]]} == {
            **found[name],
            "problems": [*found[name]["problems"]],
            "warnings": [*found[name]["warnings"]],
        }


@pytest.mark.parametrize(("architecture", "headers"), [(AMD64, "linux-headers-amd64"), (ARM64, "linux-headers-arm64")])
def test_the_headers_of_debians_kernel_are_those_of_the_architecture(architecture, headers):
    settings = Described("Debian 13", architecture=architecture).asked().settings["driver"]
    assert settings["platform"]["nvidia"]["build"] == ["dkms", headers]


def test_each_refusal_is_among_the_findings_of_one_run(rows):
    described = Described(
        "Debian 13",
        kernel="6.12.117+deb13-cloud-amd64",
        secure_boot=True,
        packages={"docker.io": "20.10.24"},
        docker="20.10.24",
        settings={"nvidia_container_toolkit_version": "1.16.0", "nvidia_driver_version": "595.71.05"},
    )
    found = rows(described)
    assert [len(found[name]["problems"]) for name in ("driver", "container engine", "container toolkit")] == [3, 1, 1]


def test_the_toolkit_is_decided_for_the_engine_that_will_be_installed(rows):
    settings = {"container_engine_replace": True, "nvidia_container_toolkit_mode": "cdi"}
    old = {"packages": {"docker.io": "20.10.24"}, "docker": "20.10.24"}
    found = rows(Described("Debian 12", settings=settings, **old))
    assert (found["container engine"]["action"], found["container toolkit"]["action"]) == ("install", "install")


def test_the_installed_toolkit_is_found_by_any_of_its_packages(rows):
    found = rows(Described("Debian 13", packages={"nvidia-container-toolkit-base": "1.19.1-1"}))["container toolkit"]
    assert (found["found"], found["reason"]) == ("1.19.1", "NVIDIA container toolkit 1.19.1, cdi.")


@pytest.mark.parametrize("described", [HOSTS["WSL2"][0], HOSTS["Jetson"][0], HOSTS["Rocky 8"][0]])
def test_an_unsupported_system_is_the_only_finding(rows, described):
    assert {name for name, row in rows(described).items() if row["problems"]} == {"system"}


def test_a_repository_that_the_role_cannot_add_is_refused_before_a_change(rows):
    files = {SOURCES: DOCKER_SOURCES.replace("Components: stable", "Components: edge")}
    (problem,) = rows(Described("Debian 13", files=files))["container engine"]["problems"]
    assert "/etc/apt/sources.list.d/docker.sources" in problem


def test_the_supported_releases_equal_the_roles_platforms():
    for role in ("nvidia_driver", "container_engine"):
        found = [name for family in ("Debian", "Ubuntu", "RedHat") for name in platforms(role, family)]
        assert sorted(found) == sorted(system.SUPPORTED)
