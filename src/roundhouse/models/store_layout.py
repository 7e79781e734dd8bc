"""Rename the store's folder of quantized models, which earlier versions spelled `quantised`.

The quantized models stay in use. The next run that writes to the store renames the folder and leaves a relative link
for the paths of plans that earlier versions deployed.
"""

from __future__ import annotations

from pathlib import Path

from ..util import lock

QUANTIZED = "quantized"
OLD_QUANTIZED = "quantised"


def is_old(store: Path) -> bool:
    """Return true if the folder still has its old name."""
    old = store / OLD_QUANTIZED
    return old.is_dir() and not old.is_symlink() and not (store / QUANTIZED).exists()


def existing(folder: Path) -> Path:
    """Return the current path of a model's folder; a quantized one may still be under the old name."""
    store, owner = folder.parents[2], folder.parents[1].name
    if owner != QUANTIZED or not is_old(store):
        return folder
    return store / OLD_QUANTIZED / folder.relative_to(store / QUANTIZED)


def is_link(folder: Path) -> bool:
    """Return true if a folder below the store is the link that `rename` created."""
    return folder.name == OLD_QUANTIZED and folder.is_symlink()


def rename(store: Path) -> bool:
    """Rename the folder if it has its old name, and create the link; return true if renamed. Raises OSError."""
    # Created before the rename, so that the run after a killed one detects a missing link.
    link = store / f".{OLD_QUANTIZED}.link"
    if not is_old(store) and not link.is_symlink():
        return False
    old, new = store / OLD_QUANTIZED, store / QUANTIZED
    with lock.exclusive(store / ".lock"):
        if not link.is_symlink():
            if not is_old(store):  # another process was first
                return False
            link.symlink_to(QUANTIZED)
        if not new.exists():
            old.rename(new)
        if old.exists():
            link.unlink()
        else:
            link.rename(old)
    return True
