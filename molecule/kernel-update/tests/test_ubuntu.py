"""Ubuntu's prebuilt modules follow the kernel's updates; the driver's other packages stay until a run changes them."""

import pytest

ONLY = "ubuntu"
UPGRADE = "DEBIAN_FRONTEND=noninteractive apt-get -y -q --with-new-pkgs upgrade"
MODULES = "linux-modules-nvidia-580-server-open"


@pytest.fixture
def update(host):
    """Return a function that upgrades the host to the archive of a day, as unattended upgrades do."""

    def run(day):
        host.check_output(f"lab-ubuntu day {day} && apt-get update -q && {UPGRADE}")

    return run


def test_the_modules_of_the_running_kernels_flavour_are_installed(host, doctor):
    assert doctor() == ("ok", "The driver 580.126.09 is loaded and NVML answers.")
    assert host.package(f"{MODULES}-6.8.0-90-generic").is_installed


def test_only_the_other_packages_are_held(host):
    held = host.check_output("apt-mark showhold").split()
    assert "nvidia-utils-580-server" in held
    assert not [name for name in held if name.startswith("linux-")]
    blocked = host.check_output("apt-config dump Unattended-Upgrade::Package-Blacklist")
    assert '"libnvidia-"' in blocked
    assert "linux-modules" not in blocked


def test_the_static_persistence_daemon_keeps_the_card_awake(host):
    assert host.check_output("systemctl is-enabled nvidia-persistenced || true") == "static"
    assert host.service("nvidia-persistenced").is_running
    arguments = host.check_output("cat /run/nvidia-persistenced/arguments").split()
    assert arguments == ["--user", "nvidia-persistenced", "--persistence-mode", "--verbose"]


def test_a_kernel_update_brings_its_module_and_the_gpu_works_after_the_reboot(host, doctor, update, reboot):
    update(2)
    assert host.package(f"{MODULES}-6.8.0-91-generic").is_installed
    assert doctor()[0] == "ok"
    assert reboot() == "6.8.0-91-generic"
    assert doctor() == ("ok", "The driver 580.126.09 is loaded and NVML answers.")
    assert "--persistence-mode" in host.check_output("cat /run/nvidia-persistenced/arguments").split()


def test_a_module_of_a_newer_release_is_missed_before_the_reboot(host, doctor, update):
    update(3)
    assert not host.package(f"{MODULES}-6.8.0-92-generic").is_installed  # it needs packages that are held
    state, text = doctor()
    assert state == "module_missing"
    assert text == "Kernel 6.8.0-92-generic, which the next reboot starts, has no module of the driver."


def test_a_run_repairs_the_host_that_booted_without_a_module(host, doctor, reboot, play):
    assert reboot() == "6.8.0-92-generic"
    assert doctor() == ("module_missing", "Kernel 6.8.0-92-generic, which runs, has no module of the driver.")
    assert "failed=0" in play()
    assert doctor() == ("ok", "The driver 580.173.02 is loaded and NVML answers.")
    assert "changed=0" in play()
    assert reboot() == "6.8.0-92-generic"
    assert doctor()[0] == "ok"


def test_a_branch_change_stops_the_agents_first_and_replaces_the_packages(host, doctor, play):
    host.check_output("systemd-run --unit roundhouse-user sleep infinity")  # the role treats the unit as an agent
    # The command is installed with the agents, which this scenario does not deploy.
    host.check_output("printf '#!/bin/sh\necho \"$@\" >/run/resumed\n' >/usr/local/bin/roundhouse")
    host.check_output("chmod 755 /usr/local/bin/roundhouse")
    play(nvidia_driver_branch=595)
    assert host.check_output("cat /run/resumed") == "resume --no-wait"
    assert not host.service("roundhouse-user").is_running
    assert doctor() == ("ok", "The driver 595.71.05 is loaded and NVML answers.")
    assert not host.package("nvidia-utils-580-server").is_installed
