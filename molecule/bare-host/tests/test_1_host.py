"""The state after one run on a bare host: the driver, its pin, and the protection from upgrades."""

import json
import subprocess

from conftest import INVENTORY, ROOT

VERSION = "580.173.02"  # the newest of branch 580 in the lab's repository, which also has branch 595


def test_the_driver_is_ok(doctor):
    found = doctor()
    assert (found["state"], found["rc"]) == ("ok", 0)
    assert found["text"] == f"The driver {VERSION} is loaded and NVML answers."


def test_nvml_reports_the_facts_for_a_plan(host):
    command = ["ansible", "--inventory", INVENTORY, host.backend.hostname, "--module-name", "roundhouse_gpu_info"]
    done = subprocess.run([*command, "--one-line"], cwd=ROOT, capture_output=True, text=True, check=True)
    told, _ = json.JSONDecoder().raw_decode(done.stdout.partition("=> ")[2])
    (card,) = told["gpus"]
    assert (card["name"], card["compute_capability"]) == ("NVIDIA GeForce RTX 5060 Ti", [12, 0])
    assert round(card["memory_gib"], 2) == 15.93


def test_the_open_module_is_built_for_the_hosts_kernel(host):
    kernel = host.file("/proc/sys/kernel/osrelease").content_string.strip()
    assert f"nvidia/{VERSION}, {kernel}, x86_64: installed" in host.check_output("dkms status")
    told = host.check_output(f"modinfo --set-version {kernel} nvidia")
    assert f"version:        {VERSION}" in told
    assert "Dual MIT/GPL" in told


def test_the_branch_is_pinned_and_the_packages_are_held(host):
    policy = host.check_output("apt-cache policy nvidia-driver-cuda")
    assert f"Candidate: {VERSION}-1" in policy
    assert "595.71.05-1 -1" in policy
    assert f"Candidate: {VERSION}-1" in host.check_output("apt-cache policy libcudadebugger1")
    held = host.check_output("apt-mark showhold").split()
    assert {"nvidia-driver-cuda", "nvidia-kernel-open-dkms", "libnvidia-ml1", "libcudadebugger1"} <= set(held)
    assert "nvidia-container-toolkit" not in held


def test_a_full_upgrade_does_not_change_the_driver(host):
    planned = host.check_output("apt-get --simulate --yes full-upgrade")
    assert "Inst nvidia" not in planned
    assert "Inst libnvidia-ml1" not in planned


def test_unattended_upgrades_skip_the_driver(host):
    assert '"libnvidia-"' in host.check_output("apt-config dump Unattended-Upgrade::Package-Blacklist")


def test_nouveau_is_blocked_in_the_initramfs_too(host):
    kernel = host.file("/proc/sys/kernel/osrelease").content_string.strip()
    assert "roundhouse-nouveau.conf" in host.check_output(f"lsinitramfs /boot/initrd.img-{kernel}")


def test_the_persistence_daemon_runs_and_starts_at_boot(host):
    service = host.service("nvidia-persistenced")
    assert service.is_running
    assert service.is_enabled


def test_the_pins_do_not_slow_down_apt(host):
    # Pins by regular expression took twelve seconds at each run of apt.
    seconds = host.check_output(
        "python3 -c 'import time, apt; t = time.process_time(); apt.Cache(); print(time.process_time() - t)'"
    )
    assert float(seconds) < 5
