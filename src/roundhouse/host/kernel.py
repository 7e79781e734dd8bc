"""Inspect the nvidia module of each installed kernel, and the state of Secure Boot.

Secure Boot is read from the firmware's variables, because some hosts lack mokutil. A variable's file begins with four
bytes of attributes (Documentation/filesystems/efivarfs.rst).
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import NamedTuple

from ..util import process

_EFIVARS = "sys/firmware/efi/efivars"
_STATE = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
# shim's list of machine owner keys, as certificates.
_OWNERS_KEYS = "MokListRT-605dab50-e046-4300-abb6-3dd810dd8b23"
# DKMS's signing certificate: of Debian's dkms, and of Ubuntu's shim-signed.
_DKMS_KEYS = ("var/lib/dkms/mok.pub", "var/lib/shim-signed/mok/MOK.der")
# Debian's own packages name their modules nvidia-current*; NVIDIA's and Ubuntu's are nvidia.ko.
_NAMES = re.compile(r"^nvidia(-current(-open)?)?\.ko(\.(xz|zst))?$")
_PLACES = ("updates", "extra", "weak-updates", "kernel/drivers/video")
# Canonical signs Ubuntu's prebuilt modules with this key. Secure Boot on Ubuntu always trusts it.
_TRUSTED_SIGNER = "Canonical Ltd. Kernel Module Signing"
# From kmod, on which every Debian and Ubuntu kernel depends. A user's PATH may lack sbin.
_MODINFO = ("modinfo", "/usr/sbin/modinfo")


class Module(NamedTuple):
    """The nvidia module on disk; None for a fact that modinfo does not report. `open`: NVIDIA's open kernel modules."""

    path: str
    version: str | None
    open: bool | None
    trusted: bool  # signed with a key that Secure Boot trusts by default


def secure_boot(root: Path) -> bool | None:
    """Return true if Secure Boot is on; None if the firmware does not report it, as without EFI."""
    path = root / _EFIVARS / _STATE
    return path.read_bytes()[-1] == 1 if path.exists() else None


def dkms_key_is_enrolled(root: Path) -> bool:
    """Return true if DKMS's signing key is enrolled as a machine owner key."""
    path = root / _EFIVARS / _OWNERS_KEYS
    enrolled = path.read_bytes() if path.exists() else b""
    keys = [(root / key).read_bytes() for key in _DKMS_KEYS if (root / key).exists()]
    return any(key and key in enrolled for key in keys)


def kernels(root: Path) -> list[str]:
    """Return the installed kernels, oldest first. Folders of removed kernels, which lack modules, are ignored."""
    found = [path.name for path in (root / "lib/modules").glob("*") if (path / "kernel").is_dir()]
    return sorted(found, key=lambda name: [int(part) for part in re.findall(r"\d+", name)])


def find_module(root: Path, kernel: str) -> Path | None:
    """Return the path of the nvidia module for a kernel, None if there is none."""
    folder = root / "lib/modules" / kernel
    places = [folder / place for place in _PLACES] + list((folder / "kernel").glob("nvidia*"))
    for place in places:
        for path in sorted(place.rglob("nvidia*.ko*")):
            if _NAMES.match(path.name):
                return path
    return None


def read_module(path: Path) -> Module:
    """Return modinfo's facts of a module's file."""
    program = next(filter(None, map(shutil.which, _MODINFO)), None)
    if program is None:
        return Module(str(path), version=None, open=None, trusted=False)
    rows = (line.partition(":")[::2] for line in process.run([program, path]).stdout.splitlines())
    fields = {name: value.strip() for name, value in rows}
    licence = fields.get("license")
    return Module(
        str(path),
        version=fields.get("version"),
        open=None if licence is None else "GPL" in licence,
        trusted=fields.get("signer") == _TRUSTED_SIGNER,
    )
