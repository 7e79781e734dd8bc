#!/usr/bin/python3
"""Simulate a machine's kernel and firmware inside a lab host: `lab-kernel boot | load | unload`.

A container sees the kernel of its machine. This program mounts the data of a bare machine over the paths of /proc and
/sys that the inspection of a GPU host reads. They show PCI cards, loaded modules, Secure Boot, and the newest installed
Debian kernel as the running one. The files on disk are real: Debian's kernel and headers, DKMS, the module that it
built, the initramfs. /etc/lab-gpu.json describes the machine:

    {"cards": {"0000:01:00.0": "2d04"}, "kernel": null, "secure_boot": null, "nouveau": false, "busy": false}
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import uuid
from pathlib import Path

RUN = Path("/run/lab-gpu")
MACHINE = Path("/etc/lab-gpu.json")
DEFAULT = {"cards": {"0000:01:00.0": "2d04"}, "kernel": None, "secure_boot": None, "nouveau": False, "busy": False}
OVER = {
    "osrelease": "/proc/sys/kernel/osrelease",
    "boot_id": "/proc/sys/kernel/random/boot_id",
    "driver": "/proc/driver",
    "pci": "/sys/bus/pci",
    "module": "/sys/module",
    "firmware": "/sys/firmware",
}
# Major and minor number of /dev/fuse, a harmless device that containers may not open by default.
NODE = (10, 229)
# The data of a card for the stand-in NVML, see nvml.c.
CARD = "16311 412 12.0 off GPU-5f1c NVIDIA GeForce RTX 5060 Ti"
PRE_TURING = 0x1E


def machine() -> dict:
    """Return the description of the machine."""
    return {**DEFAULT, **(json.loads(MACHINE.read_text()) if MACHINE.exists() else {})}


def said(*command: str) -> str:
    """Return a program's output, empty if it fails."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def boot() -> int:
    """Set the state after a boot: nouveau is loaded first, unless the initramfs blocks it, then nvidia."""
    this = machine()
    newest = max((path.parent for path in Path("/lib/modules").glob("*/kernel")), key=os.path.getmtime).name
    kernel = this["kernel"] or newest
    RUN.mkdir(exist_ok=True)
    (RUN / "osrelease").write_text(kernel + "\n")
    (RUN / "boot_id").write_text(f"{uuid.uuid4()}\n")
    for name in ("driver", "pci/devices", "pci/drivers/nouveau", "pci/drivers/nvidia", "module", "firmware"):
        empty(RUN / name)
    if this["secure_boot"] is not None:
        efivars = RUN / "firmware/efi/efivars"
        efivars.mkdir(parents=True)
        state = bytes([6, 0, 0, 0, int(this["secure_boot"])])
        (efivars / "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c").write_bytes(state)
    for name, place in OVER.items():
        if not mounted(place):
            subprocess.run(["mount", "--bind", RUN / name, place], check=True)
    # systemd writes this file only in a container, and the host stands for a machine.
    Path("/run/systemd/container").unlink(missing_ok=True)
    nouveau = this["nouveau"] or "roundhouse-nouveau" not in said("lsinitramfs", f"/boot/initrd.img-{kernel}")
    cards = [f"gpu {address} {device} {CARD}" for address, device in this["cards"].items()]
    Path("/etc/lab-nvml.conf").write_text("\n".join([*cards, ""]))
    for address, device in this["cards"].items():
        card = RUN / "pci/devices" / address
        card.mkdir(parents=True)
        for name, value in (("vendor", "0x10de"), ("device", f"0x{device}"), ("class", "0x030000")):
            (card / name).write_text(value + "\n")
        if nouveau:
            (card / "driver").symlink_to("../../drivers/nouveau")
    unload()
    if not nouveau and said("modinfo", "--set-version", kernel, "--field", "filename", "nvidia"):
        load()
    return 0


def load() -> int:
    """Load the module on disk for the running kernel, as modprobe does."""
    this, kernel = machine(), (RUN / "osrelease").read_text().strip()

    def info(field: str) -> str:
        return said("modinfo", "--set-version", kernel, "--field", field, "nvidia")

    if (RUN / "module/nvidia").exists():  # like modprobe, succeed if the module is loaded
        return 0
    if not info("filename"):
        print(f"modprobe: FATAL: Module nvidia not found in directory /lib/modules/{kernel}", file=sys.stderr)
        return 1
    if this["secure_boot"]:
        print("modprobe: ERROR: could not insert 'nvidia': Key was rejected by service", file=sys.stderr)
        return 1
    is_open = "GPL" in info("license")
    for name, content in (("module/nvidia/version", info("version")), ("driver/nvidia/version", banner(is_open))):
        (RUN / name).parent.mkdir(parents=True, exist_ok=True)
        (RUN / name).write_text(content + "\n")
    for index, (address, device) in enumerate(this["cards"].items()):
        link = RUN / "pci/devices" / address / "driver"
        # The open modules support Turing and later; Blackwell is supported only by them.
        drives = int(device[:2], 16) >= PRE_TURING if is_open else int(device[:2], 16) < 0x29
        if not link.is_symlink() and drives:
            link.symlink_to("../../drivers/nvidia")
            node(f"/dev/nvidia{index}")
    for name in ("/dev/nvidiactl", "/dev/nvidia-uvm"):
        node(name)
    return 0


def unload() -> int:
    """Unload the module, unless the machine's description marks it as busy."""
    if machine()["busy"] and (RUN / "module/nvidia").exists():
        print("modprobe: FATAL: Module nvidia is in use.", file=sys.stderr)
        return 1
    for name in ("module/nvidia", "driver/nvidia"):
        shutil.rmtree(RUN / name, ignore_errors=True)
    for card in (RUN / "pci/devices").iterdir():
        if (card / "driver").is_symlink() and (card / "driver").readlink().name == "nvidia":
            (card / "driver").unlink()
    for path in Path("/dev").glob("nvidia*"):
        path.unlink()
    return 0


def banner(is_open: bool) -> str:
    """Return the line of /proc/driver/nvidia/version."""
    return f"NVRM version: NVIDIA UNIX {'Open Kernel Module' if is_open else 'x86_64 Kernel Module'}  (the lab's)"


def node(path: str) -> None:
    """Create a device node."""
    if not Path(path).exists():
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(*NODE))
        Path(path).chmod(0o666)


def empty(folder: Path) -> None:
    """Create an empty folder, or empty the folder in place, because it may be a mount's source."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def mounted(place: str) -> bool:
    """Return whether this program has already mounted something at the place."""
    return any(
        f" {place} " in line for line in Path("/proc/self/mountinfo").read_text().splitlines() if "lab-gpu" in line
    )


if __name__ == "__main__":
    raise SystemExit({"boot": boot, "load": load, "unload": unload}[sys.argv[1]]())
