"""The initramfs is built by the program that the host has, for all kernels."""

import os

import pytest

from roundhouse.host import initramfs

KERNELS = ["6.8.0-90-generic", "6.8.0-91-generic"]


@pytest.fixture
def host(tmp_path):
    """Return a function that writes an empty file below a root with the initramfs of two kernels."""

    def write(path):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
        return tmp_path / path

    for kernel in KERNELS:
        write(f"boot/initrd.img-{kernel}")
    write.root = tmp_path
    return write


def test_initramfs_tools_rebuilds_all_kernels(host):
    host("usr/sbin/mkinitramfs")
    host("usr/bin/dracut")  # the configured program has precedence
    assert initramfs.commands(host.root, KERNELS) == [["update-initramfs", "-u", "-k", "all"]]


def test_dracut_rebuilds_the_image_of_each_kernel(host):
    host("usr/bin/dracut")
    host("boot/initramfs-5.14.0-570.el9.x86_64.img")
    assert initramfs.tool(host.root) == "dracut"
    assert initramfs.commands(host.root, [*KERNELS, "5.14.0-570.el9.x86_64", "6.99.0-1-removed"]) == [
        ["dracut", "--force", "/boot/initramfs-5.14.0-570.el9.x86_64.img", "5.14.0-570.el9.x86_64"],
        *(["dracut", "--force", f"/boot/initrd.img-{kernel}", kernel] for kernel in KERNELS),
    ]


def test_a_host_without_a_program_has_no_command(host):
    assert (initramfs.tool(host.root), initramfs.commands(host.root, KERNELS)) == (None, [])


@pytest.mark.parametrize("older", KERNELS)
def test_one_older_image_is_enough_to_be_stale(host, older):
    file = host("etc/modprobe.d/roundhouse-nouveau.conf")
    assert not initramfs.is_stale(host.root, KERNELS, host.root / "absent")
    for kernel in KERNELS:
        os.utime(host.root / f"boot/initrd.img-{kernel}", (1e9, 1e9) if kernel == older else None)
    os.utime(file, (1.5e9, 1.5e9))
    assert initramfs.is_stale(host.root, KERNELS, file)
