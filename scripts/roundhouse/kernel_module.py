"""A kernel module's own words, read from its file as modinfo does: a bare host may lack kmod's programs."""

from __future__ import annotations

import gzip
import lzma
import re
import struct
import subprocess
from pathlib import Path
from typing import NamedTuple

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
