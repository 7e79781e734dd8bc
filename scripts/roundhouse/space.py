"""Is there room? One sentence with what is free, what is still to come and the path, before anything is brought."""

from __future__ import annotations

from collections.abc import Mapping

from .progress import GIB


def shortage(place: str, free_bytes: int, needs: Mapping[str, int], *, models: bool = True) -> str | None:
    """Return the sentence when less is free than all of `needs` take together, None when there is room.

    `models` says whether a model is among them, so that another disk for those would help.
    """
    needed = sum(needs.values())
    if needed <= free_bytes:
        return None
    parts = ", ".join(f"{what} {size / GIB:.2f}" for what, size in needs.items() if size > 0)
    cure = " (roundhouse prune), or set models_store to another disk" if models else ""
    return (
        f"{place} has {free_bytes / GIB:.2f} GiB free and {needed / GIB:.2f} GiB are still to come ({parts}): "
        f"free {(needed - free_bytes) / GIB:.2f} GiB there{cure}."
    )
