"""Measure the size of the weights in a folder, in bytes, and the rate at which the disk reads them.

The rate is measured on the weights themselves with O_DIRECT. With the page cache it would be the memory's rate, which
does not apply after a reboot.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roundhouse.schema.facts import Disk  # absolute, so that Ansible does not ship it with modules

_BLOCK_BYTES = 4 << 20
# Enough for a stable rate, and short enough for each run of a playbook.
_MOST_BYTES, _MOST_SECONDS = 64 << 20, 0.3
# A shorter read measures a seek, not a rate.
_LEAST_BYTES = 16 << 20


def facts(folders: Iterable[str]) -> dict[str, Disk]:
    """Return size and read rate by folder, for the folders that exist and contain weights."""
    found: dict[str, Disk] = {}
    for folder in folders:
        files = [(path.stat().st_size, path) for path in Path(folder).rglob("*.safetensors") if path.is_file()]
        if files:
            rate = bytes_per_second(max(files)[1])
            found[folder] = {"weights_bytes": sum(size for size, _ in files), "bytes_per_second": rate}
    return found


def bytes_per_second(path: Path) -> float | None:
    """Return the read rate of a file; None if it is below 16 MiB or its file system does not support O_DIRECT."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
    except OSError:  # a file system without O_DIRECT, such as an old tmpfs
        return None
    try:
        with mmap.mmap(-1, _BLOCK_BYTES) as block:  # O_DIRECT needs aligned memory
            return _rate(descriptor, block)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _rate(descriptor: int, block: mmap.mmap) -> float | None:
    read, begun, seconds = 0, time.monotonic(), 0.0
    while read < _MOST_BYTES and seconds < _MOST_SECONDS:
        came = os.preadv(descriptor, [block], read)
        read += came
        seconds = time.monotonic() - begun
        if came < _BLOCK_BYTES:
            break
    return read / seconds if read >= _LEAST_BYTES and seconds > 0 else None
