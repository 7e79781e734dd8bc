"""Secure Boot from the firmware's variables: no mokutil is needed to read them.

An efivar's file begins with four bytes of attributes (Documentation/filesystems/efivarfs.rst).

A kernel module's own words, read from its file as modinfo does: a bare host may lack kmod's programs.
"""

from __future__ import annotations

import gzip
import lzma
import re
import struct
import subprocess
from pathlib import Path
from typing import NamedTuple

_EFIVARS = "sys/firmware/efi/efivars"
_STATE = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
# shim's list of the machine owner's keys, as certificates.
_OWNERS_KEYS = "MokListRT-605dab50-e046-4300-abb6-3dd810dd8b23"
# The certificate with which DKMS signs: Debian's dkms, and Ubuntu's through shim-signed.
_DKMS_KEYS = ("var/lib/dkms/mok.pub", "var/lib/shim-signed/mok/MOK.der")


def enabled(root: Path) -> bool | None:
    """Return whether Secure Boot is on; None when the firmware does not say, as without EFI."""
    path = root / _EFIVARS / _STATE
    return path.read_bytes()[-1] == 1 if path.exists() else None


def dkms_key_is_enrolled(root: Path) -> bool:
    """Return whether the machine's owner has enrolled the key that DKMS signs with."""
    path = root / _EFIVARS / _OWNERS_KEYS
    enrolled = path.read_bytes() if path.exists() else b""
    keys = [(root / key).read_bytes() for key in _DKMS_KEYS if (root / key).exists()]
    return any(key and key in enrolled for key in keys)


# Debian's own packages name their modules nvidia-current*; NVIDIA's, Ubuntu's and RHEL's are nvidia.ko.
_NAMES = re.compile(r"^nvidia(-current(-open)?)?\.ko(\.(xz|gz|zst))?$")
_PLACES = ("updates", "extra", "weak-updates", "kernel/drivers/video")
# Canonical signs Ubuntu's prebuilt modules with this key, which every Secure Boot of Ubuntu trusts.
_TRUSTED_SIGNER = b"Canonical Ltd. Kernel Module Signing"
_SIGNED = b"~Module signature appended~\n"


class Module(NamedTuple):
    """The nvidia module on disk. `open`: with the licence of NVIDIA's open kernel modules."""

    path: str
    version: str | None
    open: bool
    trusted: bool  # signed with a key that Secure Boot knows without anybody's help


def kernels(root: Path) -> list[str]:
    """Return the installed kernels, oldest first. A folder that a removed kernel left has no modules of its own."""
    found = [path.name for path in (root / "lib/modules").glob("*") if (path / "kernel").is_dir()]
    return sorted(found, key=lambda name: [int(part) for part in re.findall(r"\d+", name)])


def find(root: Path, kernel: str) -> Path | None:
    """Return the file of the nvidia module for a kernel, None when there is none."""
    folder = root / "lib/modules" / kernel
    places = [folder / place for place in _PLACES] + list((folder / "kernel").glob("nvidia*"))
    for place in places:
        for path in sorted(place.rglob("nvidia*.ko*")):
            if _NAMES.match(path.name):
                return path
    return None


def read(path: Path) -> Module:
    """Read a module's file, compressed or not."""
    content = _content(path)
    told = dict(entry.partition(b"=")[::2] for entry in _section(content, b".modinfo").split(b"\0"))
    version = told.get(b"version")
    return Module(
        str(path),
        version.decode() if version else None,
        open=b"GPL" in told.get(b"license", b""),
        trusted=content.endswith(_SIGNED) and _TRUSTED_SIGNER in content[-8192:],
    )


def _content(path: Path) -> bytes:
    raw = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(raw)
    if path.suffix == ".gz":
        return gzip.decompress(raw)
    if path.suffix == ".zst":  # not in the standard library before Python 3.14
        return subprocess.run(["zstd", "--decompress", "--stdout", path], check=True, capture_output=True).stdout
    return raw


def _section(elf: bytes, name: bytes) -> bytes:
    """Return a section of a 64-bit little-endian ELF file, empty when it has none of that name (elf(5))."""
    if elf[:6] != b"\x7fELF\x02\x01":
        return b""
    (table,) = struct.unpack_from("<Q", elf, 0x28)
    size, count, names_index = struct.unpack_from("<HHH", elf, 0x3A)
    sections = [struct.unpack_from("<II8x8xQQ", elf, table + size * index) for index in range(count)]
    names = sections[names_index][2]
    for label, _, offset, length in sections:
        if elf[names + label : elf.index(b"\0", names + label)] == name:
            return elf[offset : offset + length]
    return b""
