"""The store's folder of quantized models, which earlier versions spelled `quantised`.

Their results stay in use: the folder is renamed by the next run that writes to the store, and a relative link keeps the
paths of plans that earlier versions deployed.
"""

from __future__ import annotations

from pathlib import Path

from ..util import files

QUANTIZED = "quantized"
OLD_QUANTIZED = "quantised"


def is_old(store: Path) -> bool:
    """Return whether the folder still has its old name."""
    old = store / OLD_QUANTIZED
    return old.is_dir() and not old.is_symlink() and not (store / QUANTIZED).exists()


def existing(folder: Path) -> Path:
    """Return where a model's folder is now: a quantized one may still be under the old name."""
    store, owner = folder.parents[2], folder.parents[1].name
    if owner != QUANTIZED or not is_old(store):
        return folder
    return store / OLD_QUANTIZED / folder.relative_to(store / QUANTIZED)


def is_link(folder: Path) -> bool:
    """Return whether a folder below the store is the link that `rename` left."""
    return folder.name == OLD_QUANTIZED and folder.is_symlink()


def rename(store: Path) -> bool:
    """Rename the folder if it has its old name, and leave the link; return whether it was renamed. Raises OSError."""
    # Made before the rename, so that a run after a killed one knows that the link is missing.
    link = store / f".{OLD_QUANTIZED}.link"
    if not is_old(store) and not link.is_symlink():
        return False
    old, new = store / OLD_QUANTIZED, store / QUANTIZED
    with files.exclusive(store):
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
