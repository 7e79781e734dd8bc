"""Each state of a driver, produced with a tree of files and the real client of NVML."""

import lzma
import os

import pytest
from machine import CARD, KERNEL, NEWER

from roundhouse.host import driver, kernel


def test_no_gpu(machine):
    machine.card("22eb")
    (machine.root / "sys/bus/pci/devices/0000:01:00.0/class").write_text("0x040300\n")
    assert machine.state()["state"] == "no_gpu"


def test_a_card_without_a_driver(machine):
    assert machine.state()["state"] == "no_driver"


def test_wsl_has_the_driver_of_windows(machine):
    machine.write("proc/sys/kernel/osrelease", "5.15.153.1-microsoft-standard-WSL2\n")
    found = machine.state()
    assert (found["state"], found["cure"]) == ("wsl", "Update the driver in Windows; do not install one in WSL.")


def test_nouveau_holds_the_card(machine):
    machine.card("2d04", driver="nouveau")
    found = machine.state()
    assert found["state"] == "nouveau_bound"
    assert found["sentence"] == (
        "The kernel driver nouveau is bound to 0000:01:00.0, which keeps NVIDIA's driver from using it."
    )


def test_nouveau_may_hold_a_card_that_no_driver_supports(machine):
    machine.module("580.173.02")
    machine.load("580.173.02")
    machine.card("128b", address="0000:02:00.0", driver="nouveau")  # GT 710
    assert machine.state()["state"] == "ok"
    machine.card("2684", address="0000:02:00.0", driver="nouveau")
    assert machine.state()["state"] == "nouveau_bound"


def test_a_virtual_machine_may_have_a_card_beside_the_drivers_own(machine):
    machine.module("580.173.02")
    machine.load("580.173.02")
    machine.card("2684", address="0000:02:00.0", driver="vfio-pci")
    assert machine.state()["state"] == "ok"
    machine.card("2d04", driver="vfio-pci")
    assert machine.state()["state"] == "nouveau_bound"


def test_open_modules_may_leave_a_card_before_turing_to_nouveau(machine):
    machine.module("580.173.02")
    machine.load("580.173.02")
    machine.card("1b06", address="0000:02:00.0", driver="nouveau")
    assert machine.state()["state"] == "ok"


def test_one_lost_card_of_two_leaves_the_driver_ok(machine):
    machine.module("580.173.02")
    machine.load("580.173.02")
    machine.card("2684", address="0000:02:00.0", driver="nvidia")
    machine.nvml += ["gpu 0000:02:00.0 2684 24564 1 8.9 off GPU-2 NVIDIA GeForce RTX 4090", "lost 1"]
    assert machine.state()["state"] == "ok"


def test_nouveau_holds_the_card_of_an_installed_driver(machine):
    machine.module("580.173.02")
    machine.card("2d04", driver="nouveau")
    assert machine.state()["state"] == "nouveau_bound"


def test_a_failed_dkms_build_is_reported_with_its_first_error(machine):
    machine.failed_build()
    found = machine.state()
    assert found["state"] == "dkms_failed"
    assert "error: too few arguments to function 'pci_resize_resource'" in found["sentence"]
    assert KERNEL in found["sentence"]


def test_a_failed_build_for_another_kernel_is_ignored(machine):
    machine.failed_build(kernel="6.1.0-1-amd64")
    machine.module("580.173.02")
    machine.load("580.173.02")
    assert machine.state()["state"] == "ok"


def test_a_driver_missing_for_the_next_kernel_is_reported(machine):
    machine.module("580.173.02")
    machine.load("580.173.02")
    machine.kernel(NEWER)
    machine.write("var/lib/dkms/nvidia/580.173.02/source", "")
    found = machine.state()
    assert found["state"] == "dkms_failed"
    assert NEWER in found["sentence"]


def test_a_prebuilt_module_missing_for_the_next_kernel_is_reported_before_the_reboot(machine):
    machine.module("580.173.02")
    machine.load("580.173.02")
    machine.kernel(NEWER)
    found = machine.state()
    assert (found["state"], found["sentence"]) == (
        "module_missing",
        f"Kernel {NEWER}, which the next reboot starts, has no module of the driver.",
    )
    assert "Run ansible-playbook site.yml, which installs the module for that kernel." in found["cure"]


def test_a_kernel_without_a_module_is_named_after_the_reboot(machine):
    machine.module("580.173.02")
    machine.kernel(NEWER)
    machine.write("proc/sys/kernel/osrelease", NEWER + "\n")
    found = machine.state()
    assert (found["state"], found["sentence"]) == (
        "module_missing",
        f"Kernel {NEWER}, which runs, has no module of the driver.",
    )


def test_secure_boot_refuses_modules_that_dkms_signed(machine):
    machine.module("580.173.02", signer="DKMS module signing key")
    machine.write("var/lib/dkms/mok.pub", b"certificate")
    machine.secure_boot(True)
    assert machine.state()["state"] == "secureboot_blocked"


@pytest.mark.parametrize("way", ["off", "enrolled", "canonical"])
def test_secure_boot_is_not_a_problem(machine, way):
    signer = "Canonical Ltd. Kernel Module Signing" if way == "canonical" else "DKMS module signing key"
    machine.module("580.173.02", signer=signer)
    machine.write("var/lib/dkms/mok.pub", b"certificate")
    machine.secure_boot(way != "off", owners_key=b"certificate" if way == "enrolled" else b"")
    assert machine.state()["state"] == "reboot_required"  # it is installed but not loaded


def test_a_module_for_the_next_kernel_needs_a_reboot(machine):
    machine.kernel(NEWER)
    machine.module("580.173.02", kernel=NEWER)
    machine.write("var/lib/dkms/nvidia/580.173.02/source", "")
    found = machine.state()
    assert (found["state"], NEWER in found["sentence"]) == ("reboot_required", True)


def test_an_upgraded_driver_needs_a_reboot(machine):
    machine.module("580.173.02")
    machine.load("580.126.09")
    found = machine.state()
    assert found["state"] == "reboot_required"
    assert "580.126.09 is loaded and 580.173.02 is installed" in found["sentence"]


def test_a_library_of_another_version_than_the_module(machine):
    machine.module("580.126.09")
    machine.load("580.126.09")  # the library has 580.173.02
    assert machine.state()["state"] == "version_mismatch"


def test_a_card_that_fell_off_the_bus(machine):
    machine.module("580.173.02")
    machine.load("580.173.02")
    machine.nvml.append("fail 15")
    found = machine.state()
    assert (found["state"], "NVML fails with error 15" in found["sentence"]) == ("reboot_required", True)


def test_proprietary_modules_do_not_drive_blackwell(machine):
    machine.module("580.173.02", licence="NVIDIA")
    machine.load("580.173.02", flavour="x86_64 Kernel Module")
    found = machine.state()
    assert found["state"] == "wrong_flavour"
    assert "only the open kernel modules support 0000:01:00.0 (10de:2d04, blackwell)" in found["sentence"]


def test_open_modules_do_not_drive_a_card_before_turing(machine):
    machine.card("1b06")
    machine.module("580.173.02")
    assert machine.state()["state"] == "wrong_flavour"


def test_proprietary_modules_do_drive_a_card_before_turing(machine):
    machine.card("1b06")
    machine.module("580.173.02", licence="NVIDIA")
    machine.load("580.173.02", flavour="x86_64 Kernel Module", device="1b06")
    machine.nvml = ["gpu 0000:01:00.0 1b06 11264 0 6.1 on GPU-1 NVIDIA GeForce GTX 1080 Ti"]
    assert machine.state()["state"] == "ok"


def test_a_driver_by_runfile(machine):
    machine.write("usr/bin/nvidia-uninstall", "")
    machine.module("580.173.02")
    machine.load("580.173.02")
    assert machine.state()["state"] == "unmanaged"


def test_ok(machine):
    machine.module("580.173.02")
    machine.load("580.173.02")
    assert machine.state() == {
        "state": "ok",
        "sentence": "The driver 580.173.02 is loaded and NVML answers.",
        "cure": "No action is needed.",
    }


def test_these_tests_reach_each_state_of_the_table(request):
    code = request.path.read_text()
    assert [state for state in driver.STATES if f'"{state}"' not in code] == []


def test_a_compressed_module_is_read(machine):
    path = machine.module("580.173.02", compress=lambda raw: (".xz", lzma.compress(raw)))
    assert kernel.find_module(machine.root, KERNEL) == path
    assert kernel.read_module(path) == (str(path), "580.173.02", True, False)


def test_a_host_without_modinfo_needs_no_reboot(machine, monkeypatch):
    path = machine.module("580.173.02")
    monkeypatch.setattr(kernel, "_MODINFO", ("modinfo-that-is-not-there",))
    assert kernel.read_module(path) == (str(path), None, None, False)
    machine.load("580.173.02")
    facts = driver.inspect(machine.root)._replace(nvml_error=None)
    assert driver.state(facts).state == "ok"


def test_kernel_versions_compare_by_number(machine):
    machine.kernel(NEWER)
    assert kernel.kernels(machine.root) == [KERNEL, NEWER]  # 6.12.90, 6.12.117


def test_secure_boot_is_unknown_without_efi(machine):
    assert kernel.secure_boot(machine.root) is None


def test_an_initramfs_from_before_the_blacklist_is_stale(machine):
    image = machine.write(f"boot/initrd.img-{KERNEL}", "")
    assert not driver.inspect(machine.root).initramfs_stale
    blacklist = machine.write("etc/modprobe.d/roundhouse-nouveau.conf", "")
    blacklist_time = image.stat().st_mtime + 1
    os.utime(blacklist, (blacklist_time, blacklist_time))
    assert driver.inspect(machine.root).initramfs_stale


def test_a_container_is_recognized_by_systemds_file(machine):
    assert driver.inspect(machine.root).container is None
    machine.write("run/systemd/container", "docker\n")
    assert driver.inspect(machine.root).container == "docker"


def test_a_machines_nvml_is_the_real_client(machine):
    machine.load("580.173.02")
    told = machine.ask("from roundhouse.host import driver; print(json.dumps(driver.inspect(root).gpus))", CARD)
    assert told[0]["name"] == "NVIDIA GeForce RTX 5060 Ti"
