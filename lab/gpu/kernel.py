#!/usr/bin/python3
"""Simulate a machine's kernel and firmware inside a lab host: `lab-kernel boot | load | unload | nodes`.

A container sees the kernel of its machine. This program mounts the data of a bare machine over the paths of /proc and
/sys that the inspection of a GPU host reads. They show PCI cards, loaded modules, Secure Boot, and the newest installed
Debian kernel as the running one. The files on disk are real: Debian's kernel and headers, DKMS, the module that it
built, the initramfs. /etc/lab-gpu.json describes the machine:

    {"cards": {"0000:01:00.0": "2d04"}, "kernel": null, "secure_boot": null, "nouveau": false, "busy": false}

A card is its device id, or an object: {"device": "2d04", "display": true, "lost": true}. A card with a display drives a
monitor and has a desktop's memory in use. A lost card fell off the bus after the boot: the bus lists it, and NVML
refuses its handle.

As in reality, loading the module creates no device nodes. `nodes` creates them, and the stand-ins of nvidia-modprobe,
nvidia-smi, nvidia-persistenced and NVML call it. /var/lib/lab/boots has one line for each boot.
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
BOOTS = Path("/var/lib/lab/boots")
NVML = Path("/etc/lab-nvml.conf")
# A card's memory in MiB, compute capability and name by its device id, for the stand-in NVML (nvml.c).
MODELS = {
    "2d04": (16311, "12.0", "NVIDIA GeForce RTX 5060 Ti"),
    "2684": (24564, "8.9", "NVIDIA GeForce RTX 4090"),
    "128b": (2048, "3.5", "NVIDIA GeForce GT 710"),
}
USED_MIB, DESKTOP_MIB = 412, 1236
XORG = "1500 824 /usr/lib/xorg/Xorg"
PRE_TURING = 0x1E
# Each file of modprobe.d that blocks nouveau: of the role, and of NVIDIA's packages.
BLOCKS_NOUVEAU = ("roundhouse-nouveau", "nvidia-blacklists-nouveau")


def machine() -> dict:
    """Return the description of the machine, with each card as an object."""
    this = {**DEFAULT, **(json.loads(MACHINE.read_text()) if MACHINE.exists() else {})}
    cards = {address: {"device": card} if isinstance(card, str) else card for address, card in this["cards"].items()}
    return {**this, "cards": cards}


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
    initramfs = said("lsinitramfs", f"/boot/initrd.img-{kernel}")
    nouveau = this["nouveau"] or not any(name in initramfs for name in BLOCKS_NOUVEAU)
    for address, card in this["cards"].items():
        plug(address, card, nouveau=nouveau)
    BOOTS.parent.mkdir(parents=True, exist_ok=True)
    with BOOTS.open("a") as boots:
        boots.write(kernel + "\n")
    unload()
    if not nouveau and said("modinfo", "--set-version", kernel, "--field", "filename", "nvidia"):
        load()
    return 0


def plug(address: str, card: dict, *, nouveau: bool) -> None:
    """Add a card to the PCI bus."""
    folder = RUN / "pci/devices" / address
    folder.mkdir(parents=True)
    facts = {"vendor": "0x10de", "device": f"0x{card['device']}", "class": "0x030000"}
    for name, value in (facts | {"boot_vga": str(int(card.get("display", False)))}).items():
        (folder / name).write_text(value + "\n")
    if nouveau:
        (folder / "driver").symlink_to("../../drivers/nouveau")


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
    for address, card in this["cards"].items():
        link = RUN / "pci/devices" / address / "driver"
        # The open modules support Turing and later; Blackwell is supported only by them.
        family = int(card["device"][:2], 16)
        if not link.is_symlink() and (family >= PRE_TURING if is_open else family < 0x29):
            link.symlink_to("../../drivers/nvidia")
    tell_nvml(this["cards"])
    return 0


def tell_nvml(cards: dict) -> None:
    """Write the configuration of the stand-in NVML, which lists only the cards that the module is bound to."""
    lines = []
    for index, address in enumerate(bound()):
        card = cards[address]
        mib, capability, name = MODELS.get(card["device"], MODELS["2d04"])
        display = card.get("display", False)
        used = DESKTOP_MIB if display else USED_MIB
        uuid = "GPU-5f1c" if not index else f"GPU-5f1c-{index}"
        lines.append(
            f"gpu {address} {card['device']} {mib} {used} {capability} {'on' if display else 'off'} {uuid} {name}"
        )
    lines += [f"graphics {index} {XORG}" for index, address in enumerate(bound()) if cards[address].get("display")]
    lines += [f"lost {index}" for index, address in enumerate(bound()) if cards[address].get("lost")]
    NVML.write_text("\n".join([*lines, ""]))


def bound() -> list[str]:
    """Return the addresses of the cards that the module is bound to, in PCI order."""
    cards = sorted((RUN / "pci/devices").iterdir())
    links = [card / "driver" for card in cards if (card / "driver").is_symlink()]
    return [link.parent.name for link in links if link.readlink().name == "nvidia"]


def nodes() -> int:
    """Create the device nodes of the loaded module's cards, as the setuid program nvidia-modprobe does."""
    if not (RUN / "module/nvidia").exists():
        print("NVIDIA: the module nvidia is not loaded", file=sys.stderr)
        return 1
    for name in [*(f"/dev/nvidia{index}" for index, _ in enumerate(bound())), "/dev/nvidiactl", "/dev/nvidia-uvm"]:
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
    tell_nvml({})
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
    raise SystemExit({"boot": boot, "load": load, "unload": unload, "nodes": nodes}[sys.argv[1]]())
