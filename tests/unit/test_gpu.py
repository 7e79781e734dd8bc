"""GPUs are found in sysfs without a driver."""

import pytest

from roundhouse import gpu


@pytest.fixture
def sysfs(tmp_path):
    """Return a function that adds a PCI device to a sysfs tree."""

    def add(address, vendor, device, kind, driver=None):
        folder = tmp_path / "bus/pci/devices" / address
        folder.mkdir(parents=True)
        for name, value in (("vendor", vendor), ("device", device), ("class", kind)):
            (folder / name).write_text(value + "\n")
        if driver:
            (tmp_path / "bus/pci/drivers" / driver).mkdir(parents=True, exist_ok=True)
            (folder / "driver").symlink_to(tmp_path / "bus/pci/drivers" / driver)

    add.root = tmp_path
    return add


def test_no_pci_bus_is_no_gpu(tmp_path):
    assert gpu.facts(tmp_path) == {"gpus": [], "driver_version": None}


def test_only_nvidias_vga_and_3d_functions_count(sysfs):
    sysfs("0000:01:00.0", "0x10de", "0x2d04", "0x030000", "nouveau")
    sysfs("0000:01:00.1", "0x10de", "0x22eb", "0x040300")  # its audio function
    sysfs("0000:02:00.0", "0x10de", "0x20b2", "0x030200")
    sysfs("0000:03:00.0", "0x1002", "0x744c", "0x030000")  # another maker's
    assert gpu.facts(sysfs.root)["gpus"] == [
        {"address": "0000:01:00.0", "device_id": "2d04", "driver": "nouveau"},
        {"address": "0000:02:00.0", "device_id": "20b2", "driver": None},
    ]


def test_the_loaded_drivers_version(sysfs):
    (sysfs.root / "module/nvidia").mkdir(parents=True)
    (sysfs.root / "module/nvidia/version").write_text("580.173.02\n")
    assert gpu.loaded_driver(sysfs.root) == "580.173.02"
